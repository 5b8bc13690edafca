#include "models/dummy.h"

#include <array>
#include <cmath>

#include "core/check.h"
#include "core/choices.h"
#include "core/float16.h"
#include "core/rng.h"
#include "models/fingerprint.h"
#include "models/registry.h"

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

Tensor random_tensor(const DummyTensor& entry, Rng& rng) {
  Tensor tensor(DType::f16, entry.shape);
  const std::span<std::uint16_t> out = tensor.mutable_as<std::uint16_t>();
  const auto last = static_cast<std::size_t>(entry.shape[entry.shape.rank() - 1]);
  switch (entry.fill) {
    case DummyFill::zeros:
      break;
    case DummyFill::ones:
      for (auto& x : out) x = f32_to_f16(1);
      break;
    case DummyFill::uniform:
      fill_uniform(out, entry.deviation, rng);
      break;
    case DummyFill::log_n:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = f32_to_f16(std::log(static_cast<float>(i % last + 1)));
      }
      break;
    case DummyFill::log_16:
      for (auto& x : out) x = f32_to_f16(static_cast<float>(std::log(1 + 15 * rng.uniform())));
      break;
    case DummyFill::dt_bias:
      for (auto& x : out) x = f32_to_f16(inverse_softplus_of_step(rng));
      break;
  }
  return tensor;
}

class DummySource final : public TensorSource {
 public:
  DummySource(std::string name, DummyCheckpoint checkpoint, std::uint64_t seed)
      : name_(std::move(name)), tensors_(std::move(checkpoint.tensors)), seed_(seed) {}

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
  std::map<std::string, DummyTensor, std::less<>> tensors_;
  std::uint64_t seed_;
};

}  // namespace

DummyTensor dummy_matrix(std::int64_t rows, std::int64_t cols, double gain) {
  return {{rows, cols}, DummyFill::uniform, gain / std::sqrt(static_cast<double>(cols))};
}

std::vector<std::string> dummy_names() {
  std::vector<std::string> names;
  for (const Architecture& row : architectures()) {
    for (std::string_view name : row.dummies.names) names.emplace_back(name);
  }
  return names;
}

DummyModel make_dummy_model(const std::string& name, std::uint64_t seed) {
  for (const Architecture& row : architectures()) {
    for (std::string_view known : row.dummies.names) {
      if (name != known) continue;
      DummyCheckpoint checkpoint = row.dummies.make(name);
      Json config = checkpoint.config;
      return {std::move(config), std::make_shared<DummySource>(name, std::move(checkpoint), seed)};
    }
  }
  fail(ErrorCode::not_found, "there is no model shape {}", unknown_name(name, dummy_names()));
}

}  // namespace krait
