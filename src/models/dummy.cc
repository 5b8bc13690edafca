#include "models/dummy.h"

#include <array>
#include <cmath>
#include <map>

#include "core/check.h"
#include "core/choices.h"
#include "core/float16.h"
#include "core/rng.h"
#include "models/decoder.h"
#include "models/families/families.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

/// Five 12-bit indices from each draw into a table of equally spaced values: about a nanosecond per
/// element, a few seconds for 2.8 billion.
void fill_uniform(std::span<std::uint16_t> out, double deviation, Rng& rng) {
  std::array<std::uint16_t, 4096> table;
  const double half_width = deviation * std::sqrt(3.0);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double x = (static_cast<double>(i) + 0.5) / 2048 - 1;
    table[i] = f32_to_f16(static_cast<float>(x * half_width));
  }
  for (std::size_t i = 0; i < out.size();) {
    std::uint64_t bits = rng.next();
    for (int k = 0; k < 5 && i < out.size(); ++k, bits >>= 12) out[i++] = table[bits & 4095];
  }
}

/// The inverse of softplus of a step between 0.001 and 0.1, uniform in its logarithm.
float inverse_softplus_of_step(Rng& rng) {
  const double dt = std::exp(std::log(1e-3) + rng.uniform() * (std::log(1e-1) - std::log(1e-3)));
  return static_cast<float>(dt + std::log(-std::expm1(-dt)));
}

/// How a tensor is made: the deviation is that of Init::uniform.
struct DummyTensor {
  Shape shape;
  Init init = Init::uniform;
  double deviation = 0.3;
};

using DummyTensors = std::map<std::string, DummyTensor, std::less<>>;

/// Every tensor of a float checkpoint.
DummyTensors tensors_of(const DecoderConfig& config) {
  const ModelLayout layout = describe_decoder(config);
  std::size_t branches = 0;
  for (const Block& block : config.blocks) branches += block.branches.size();
  // The residual sums the outputs of all branches: each adds a share of its variance.
  const double share = 1 / std::sqrt(static_cast<double>(branches));
  DummyTensors tensors;
  for (const LinearSite& site : layout.linears) {
    if (!site.tied_to.empty()) continue;
    const bool adds = site.adds_to_residual || (site.share < 1 && site.rows == layout.info.d_model);
    const double unit = (adds ? share : 1) / std::sqrt(static_cast<double>(site.cols));
    tensors[site.name + ".weight"] = {
        {site.rows, site.cols}, Init::uniform, site.kind == "table" ? 0.02 : unit};
    if (site.has_bias) tensors[site.name + ".bias"] = {{site.rows}, Init::uniform, 0.02};
  }
  for (const ParamSite& site : layout.params) tensors[site.name] = {site.shape, site.init};
  return tensors;
}

Tensor random_tensor(const DummyTensor& entry, Rng& rng) {
  Tensor tensor(DType::f16, entry.shape);
  const std::span<std::uint16_t> out = tensor.mutable_as<std::uint16_t>();
  const auto last = static_cast<std::size_t>(entry.shape[entry.shape.rank() - 1]);
  switch (entry.init) {
    case Init::zeros:
      break;
    case Init::ones:
      for (auto& x : out) x = f32_to_f16(1);
      break;
    case Init::uniform:
      fill_uniform(out, entry.deviation, rng);
      break;
    case Init::log_n:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = f32_to_f16(std::log(static_cast<float>(i % last + 1)));
      }
      break;
    case Init::log_16:
      for (auto& x : out) x = f32_to_f16(static_cast<float>(std::log(1 + 15 * rng.uniform())));
      break;
    case Init::dt_bias:
      for (auto& x : out) x = f32_to_f16(inverse_softplus_of_step(rng));
      break;
  }
  return tensor;
}

class DummySource final : public TensorSource {
 public:
  DummySource(std::string name, DummyTensors tensors, std::uint64_t seed)
      : name_(std::move(name)), tensors_(std::move(tensors)), seed_(seed) {}

  std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, entry] : tensors_) infos.push_back({name, DType::f16, entry.shape});
    return infos;
  }
  bool contains(std::string_view name) const override { return tensors_.contains(name); }
  std::string where() const override { return name_ + " with random weights"; }

  Tensor get(std::string_view name) const override {
    const auto it = tensors_.find(name);
    check(it != tensors_.end(), ErrorCode::not_found, "there is no tensor {} in {}", name, where());
    Rng rng(seed_ ^ fnv1a64(name));
    return random_tensor(it->second, rng);
  }

 private:
  std::string name_;
  DummyTensors tensors_;
  std::uint64_t seed_;
};

}  // namespace

std::vector<std::string> dummy_names() {
  std::vector<std::string> names;
  for (const Family* row : families()) {
    for (std::string_view name : row->shapes.names) names.emplace_back(name);
  }
  return names;
}

DummyModel make_dummy_model(const std::string& name, std::uint64_t seed) {
  for (const Family* row : families()) {
    for (std::string_view known : row->shapes.names) {
      if (name != known) continue;
      Json config = row->shapes.config(name);
      DummyTensors tensors = tensors_of(read_published(*row, config));
      return {std::move(config), std::make_shared<DummySource>(name, std::move(tensors), seed)};
    }
  }
  fail(ErrorCode::not_found, "there is no model shape {}", unknown_name(name, dummy_names()));
}

}  // namespace krait
