#include "report/footprint.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "eval/speed.h"
#include "models/model.h"
#include "quant/plan.h"
#include "quant/quantization_config.h"
#include "quant/sort_and_cluster.h"
#include "quant/write_tensors.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

/// What the program takes before it has read anything.
constexpr std::size_t kProgramBytes = 16 << 20;

/// The tensors of a plan as shapes. What a model is known by can be read: shapes of packed weights,
/// and whether a head that is stored is the table again.
class PlannedTensors final : public TensorSource {
 public:
  PlannedTensors(const QuantizationPlan& plan, const TensorSource& source) : source_(source) {
    for (const TensorPlan& tensor : plan.tensors) {
      std::ranges::copy(tensor.outputs(), std::back_inserter(infos_));
      if (!tensor.integers) continue;
      for (const auto& [name, made] : stored(tensor, {})) {
        if (!made.empty()) made_.emplace(name, made);
      }
    }
    for (std::size_t i = 0; i < plan.static_sites.size(); ++i) {
      const ScaleTensors scales = scale_tensors(plan, i);
      infos_.push_back(scales.scale);
      if (scales.group) infos_.push_back(*scales.group);
    }
    std::ranges::sort(infos_, {}, &TensorInfo::name);
  }
  std::vector<TensorInfo> list() const override { return infos_; }
  bool contains(std::string_view name) const override {
    return std::ranges::binary_search(infos_, name, {}, &TensorInfo::name);
  }
  Tensor get(std::string_view name) const override {
    const auto found = made_.find(name);
    return found == made_.end() ? source_.get(name) : found->second;
  }
  std::string where() const override { return source_.where(); }

 private:
  const TensorSource& source_;
  std::vector<TensorInfo> infos_;
  std::map<std::string, Tensor, std::less<>> made_;
};

/// Bytes of weights that decoding a token reads: parameters as float32, no table that is not the
/// head too, and of experts as many as a token takes.
double read_per_token(const ModelLayout& layout, const std::vector<TensorInfo>& infos) {
  std::map<std::string, double> sizes;
  for (const TensorInfo& info : infos) sizes[info.name] = static_cast<double>(bytes_of(info));
  const bool has_head = layout.linears.back().tied_to.empty();
  for (const LinearSite& site : layout.linears) {
    const double share = site.kind == "table" && has_head ? 0 : site.share;
    if (share == 1) continue;
    const std::string prefix = site.name + ".";
    for (auto it = sizes.lower_bound(prefix); it != sizes.end() && it->first.starts_with(prefix);
         ++it) {
      it->second *= share;
    }
  }
  for (const ParamSite& site : layout.params) {
    sizes[site.name] = static_cast<double>(site.shape.elements()) * sizeof(float);
    sizes.erase(site.name + "_scale");
  }
  double bytes = 0;
  for (const auto& [name, size] : sizes) bytes += size;
  return bytes;
}

/// Activations of so many tokens at once: the residual stream twice, and what stands between the
/// products of a layer, by their widest output.
std::size_t activation_bytes(const ModelLayout& layout, std::int64_t tokens) {
  std::int64_t widest = layout.info.d_model;
  for (const LinearSite& site : layout.linears) {
    if (site.layer >= 0) widest = std::max(widest, site.rows);
  }
  return static_cast<std::size_t>(tokens * (2 * layout.info.d_model + 4 * widest)) * sizeof(float);
}

/// Rounding layer by layer keeps all integers, the residual streams of all samples, and for the
/// products of an input their float weights and sums over the input's products.
std::size_t rounding_bytes(const QuantizationPlan& plan, std::size_t tokens) {
  const std::size_t copies = plan.recipe.rounding().has_float_target() ? 2 : 1;
  std::map<int, std::size_t> floats, moments;  // by layer, and by input
  for (const LinearSite& site : plan.layout.linears) {
    if (site.layer < 0) continue;
    floats[site.layer] += static_cast<std::size_t>(site.rows * site.cols) * sizeof(float);
    std::size_t& own = moments[site.input_site];
    own = std::max(own, copies * static_cast<std::size_t>(site.cols * site.cols) * sizeof(double));
  }
  std::size_t bytes = plan.output_bytes();
  bytes += copies * tokens * static_cast<std::size_t>(plan.layout.info.d_model) * sizeof(float);
  for (const auto* sizes : {&floats, &moments}) {
    std::size_t most = 0;
    for (const auto& [key, size] : *sizes) most = std::max(most, size);
    bytes += most;
  }
  return bytes;
}

/// What calibration holds beside the float model: activations, and of the observers of percentiles
/// the values of a sample.
std::size_t calibration_bytes(const QuantizationPlan& plan, std::int64_t seq_len) {
  std::size_t bytes = activation_bytes(plan.layout, seq_len);
  for (const int index : plan.static_sites) {
    const ActivationSite& site = plan.layout.activations[static_cast<std::size_t>(index)];
    const auto rule = plan.recipe.activations.find(site.role);
    if (rule == plan.recipe.activations.end() || rule->second.observer.name != "percentile")
      continue;
    bytes += static_cast<std::size_t>(site.channels * seq_len) * sizeof(float);
  }
  return bytes;
}

/// See quantize(): the source is mapped, and read tensor by tensor or, for calibration, as a whole
/// before; one tensor at a time is float, twice if it is smoothed and rotated, beside its integers.
std::size_t quantizing_bytes(const QuantizationPlan& plan, const TensorSource& tensors) {
  const QuantizeOptions defaults;
  std::map<std::string, std::size_t, std::less<>> unread;
  for (const TensorInfo& info : tensors.list()) unread[info.name] = bytes_of(info);
  std::size_t kept = kProgramBytes;
  if (plan.recipe.needs_calibration()) {
    for (const auto& [name, bytes] : std::exchange(unread, {})) kept += bytes;
    const auto tokens = static_cast<std::size_t>(defaults.samples * defaults.seq_len);
    kept += plan.recipe.rounding().looks_at_inputs() ? rounding_bytes(plan, tokens) : 0;
  }
  std::size_t most =
      kept + (plan.recipe.needs_calibration() ? calibration_bytes(plan, defaults.seq_len) : 0);
  for (const TensorPlan& tensor : plan.tensors) {
    if (const auto found = unread.find(tensor.source); found != unread.end()) {
      kept += found->second;
      unread.erase(found);
    }
    const bool is_twice = tensor.smoothing >= 0 && tensor.hadamard_block > 0;
    const std::size_t floats = static_cast<std::size_t>(tensor.shape.elements()) * sizeof(float);
    most = std::max(most, kept + (tensor.integers ? floats * (is_twice ? 2 : 1) : 0) +
                              bytes_of(tensor.outputs().front()));
  }
  return most;
}

/// Of a checkpoint with these tensors, float or quantized.
Footprint footprint_of(const ModelLayout& layout, const Json& config, const TensorSource& tensors) {
  const std::vector<TensorInfo> infos = tensors.list();
  const StateLayout state = state_layout_of(config, tensors);
  Footprint footprint{.state = state.bytes, .cache_per_token = state.bytes_per_token};
  for (const TensorInfo& info : infos) footprint.weights += bytes_of(info);
  footprint.bits_per_weight =
      8 * static_cast<double>(footprint.weights) / static_cast<double>(layout.info.parameters);
  footprint.bytes_per_token =
      step_bytes(static_cast<std::size_t>(read_per_token(layout, infos)), state, 0);
  footprint.running = kProgramBytes + footprint.weights + footprint.state +
                      1000 * footprint.cache_per_token + activation_bytes(layout, kPrefillChunk);
  return footprint;
}

}  // namespace

double Footprint::decode_seconds(double bandwidth) const {
  return bytes_per_token / (kShareOfBandwidth * bandwidth);
}

Footprint footprint_of(const Recipe& recipe, const Json& config, const TensorSource& tensors) {
  QuantizationPlan plan = plan_quantization(recipe, config, tensors);
  if (plan.recipe.cluster) {  // as many scales as there will be
    sort_and_cluster(plan, tensors, dummy_magnitudes(plan.layout));
  }
  Footprint footprint =
      footprint_of(plan.layout, output_config(config, plan, {}), PlannedTensors(plan, tensors));
  footprint.recipe = recipe.name;
  footprint.quantizing = quantizing_bytes(plan, tensors);
  return footprint;
}

Footprint footprint_of_float(const Json& config, const TensorSource& tensors) {
  Footprint footprint = footprint_of(describe_model(config, tensors), config, tensors);
  footprint.recipe = "float";
  return footprint;
}

Json to_json(const Footprint& footprint) {
  return {{"recipe", footprint.recipe},
          {"bits_per_weight", footprint.bits_per_weight},
          {"weight_bytes", footprint.weights},
          {"state_bytes", footprint.state},
          {"cache_bytes_per_token", footprint.cache_per_token},
          {"bytes_per_token", footprint.bytes_per_token},
          {"running_bytes", footprint.running},
          {"quantizing_bytes", footprint.quantizing}};
}

}  // namespace krait
