#include "report/footprint.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "eval/speed.h"
#include "models/model.h"
#include "quant/plan.h"
#include "quant/quantization_config.h"
#include "runtime/engine_impl.h"

namespace krait {

namespace {

/// What the program takes before it has read anything.
constexpr std::size_t kProgramBytes = 12 << 20;

/// Names and shapes without tensors.
class Shapes final : public TensorSource {
 public:
  explicit Shapes(std::vector<TensorInfo> infos) : infos_(std::move(infos)) {
    std::ranges::sort(infos_, {}, &TensorInfo::name);
  }
  std::vector<TensorInfo> list() const override { return infos_; }
  bool contains(std::string_view name) const override {
    return std::ranges::find(infos_, name, &TensorInfo::name) != infos_.end();
  }
  Tensor get(std::string_view name) const override {
    fail(ErrorCode::invalid_argument, "tensor {} has a shape only", name);
  }
  std::string where() const override { return "a plan"; }

 private:
  std::vector<TensorInfo> infos_;
};

std::size_t bytes_of(const TensorInfo& info) {
  return static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
}

/// Tensors of the checkpoint: of each product, ".weight..." and ".bias".
std::size_t bytes_of(const std::vector<TensorInfo>& infos, const std::string& prefix) {
  std::size_t bytes = 0;
  for (const TensorInfo& info : infos) {
    if (info.name.starts_with(prefix + ".weight") || info.name == prefix + ".bias") {
      bytes += bytes_of(info);
    }
  }
  return bytes;
}

/// Bytes of weights that decoding a token reads: all but a table that is not the head too, and of
/// experts as many as a token takes.
double read_per_token(const ModelLayout& layout, const Json& config,
                      const std::vector<TensorInfo>& infos) {
  double bytes = 0;
  for (const TensorInfo& info : infos) bytes += static_cast<double>(bytes_of(info));
  const bool has_head = layout.linears.back().tied_to.empty();
  std::map<std::pair<int, std::string>, int> alike;  // products of a layer and role
  for (const LinearSite& site : layout.linears) ++alike[{site.layer, site.role}];
  const int taken = config.value("num_experts_per_tok", 2);
  for (const LinearSite& site : layout.linears) {
    const int experts = alike[{site.layer, site.role}];
    const bool is_unread_table = site.input_site < 0 && has_head;
    const double share = is_unread_table ? 0
                         : experts > 1   ? std::min(1.0, static_cast<double>(taken) / experts)
                                         : 1;
    if (share < 1) bytes -= (1 - share) * static_cast<double>(bytes_of(infos, site.name));
  }
  return bytes;
}

/// Activations of so many tokens at once: the residual stream twice, and what stands between the
/// products of a layer, by their widest output.
std::size_t activation_bytes(const ModelLayout& layout, std::int64_t tokens) {
  std::int64_t widest = layout.info.d_model;
  for (const LinearSite& site : layout.linears) {
    if (site.layer >= 0) widest = std::max(widest, site.rows);
  }
  return static_cast<std::size_t>(tokens * (2 * layout.info.d_model + 3 * widest)) * sizeof(float);
}

/// See quantize(): the source is mapped and read as a whole; one tensor at a time is float, twice
/// if it is smoothed or rotated, and integers; calibration runs the float model; rounding layer by
/// layer keeps all integers, the residual streams of all samples, and for the products of an input
/// their float weights and sums over the input's products.
std::size_t quantizing_bytes(const QuantizationPlan& plan, const TensorSource& tensors) {
  const QuantizeOptions defaults;
  const auto tokens =
      static_cast<std::size_t>(defaults.samples) * static_cast<std::size_t>(defaults.seq_len);
  std::size_t bytes = kProgramBytes, work = 0;
  for (const TensorInfo& info : tensors.list()) bytes += bytes_of(info);
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.scale.name.empty()) continue;
    const Shape& shape = tensor.shape.name.empty() ? tensor.output.shape : tensor.source_shape;
    const bool is_changed = tensor.smoothing >= 0 || tensor.hadamard_block > 0;
    const auto floats = static_cast<std::size_t>(shape.elements()) * sizeof(float);
    work = std::max(work, floats * (is_changed ? 2 : 1) + bytes_of(tensor.output));
  }
  bytes += work;
  if (plan.recipe.needs_calibration()) bytes += activation_bytes(plan.layout, defaults.seq_len);
  if (plan.recipe.rounding.looks_at_inputs()) {
    const std::size_t copies = plan.recipe.rounding.float_target ? 2 : 1;
    bytes += plan.output_bytes() +
             copies * tokens * static_cast<std::size_t>(plan.layout.info.d_model) * sizeof(float);
    std::map<int, std::size_t> floats, moments;  // by layer, and by input
    for (const LinearSite& site : plan.layout.linears) {
      if (site.layer < 0) continue;
      floats[site.layer] += static_cast<std::size_t>(site.rows * site.cols) * sizeof(float);
      std::size_t& own = moments[site.input_site];
      own =
          std::max(own, copies * static_cast<std::size_t>(site.cols * site.cols) * sizeof(double));
    }
    const auto most = [](const std::map<int, std::size_t>& sizes) {
      std::size_t largest = 0;
      for (const auto& [key, size] : sizes) largest = std::max(largest, size);
      return largest;
    };
    bytes += most(floats) + most(moments);
  }
  return bytes;
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
      step_bytes(static_cast<std::size_t>(read_per_token(layout, config, infos)), state, 0);
  footprint.running = kProgramBytes + footprint.weights + footprint.state +
                      1000 * footprint.cache_per_token + activation_bytes(layout, kPrefillChunk);
  return footprint;
}

}  // namespace

double Footprint::decode_seconds(double bandwidth) const {
  return bytes_per_token / (kShareOfBandwidth * bandwidth);
}

Footprint footprint_of(const Recipe& recipe, const Json& config, const TensorSource& tensors) {
  const QuantizationPlan plan = plan_quantization(recipe, config, tensors);
  Footprint footprint =
      footprint_of(plan.layout, output_config(config, plan, {}), Shapes(plan.outputs()));
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
