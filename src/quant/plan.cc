#include "quant/plan.h"

#include <algorithm>

#include "core/check.h"
#include "core/trits.h"
#include "quant/codes.h"
#include "quant/rotate.h"

namespace krait {
namespace {

using enum ErrorCode;

/// What a weight becomes.
struct Target {
  DType dtype = DType::f32;
  std::optional<WeightRule> integers{};
  bool operator==(const Target&) const = default;
};

using Dtypes = std::map<std::string, DType>;

DType dtype_of(const Dtypes& dtypes, const std::string& name) {
  const auto found = dtypes.find(name);
  return found == dtypes.end() ? DType::f16 : found->second;
}

template <typename Site>
Target target_of(const Recipe& recipe, const Site& site, DType source) {
  const WeightRule* rule = recipe.find_weight(site.name, site.role);
  if (rule && rule->quantized) return {source, *rule};
  return {rule ? rule->dtype.value_or(source) : source};
}

/// `is_table`: rows are looked up in it; 4 bits are codes then.
IntegerFormat format_of(const WeightRule& rule, const Shape& shape, bool is_table,
                        const std::vector<std::int64_t>& parts) {
  const std::int64_t rows = shape[0], cols = shape.elements() / rows;
  const QuantArgs& args = rule.args;
  if (args.bits == 8) {
    return format_8bit(args.strategy, rule.by_part ? parts : std::vector<std::int64_t>{}, rows,
                       cols);
  }
  const std::int64_t group =
      args.strategy == Strategy::channel ? cols : group_within(args.group_size, cols);
  return is_table || has_codes(args) ? format_codes(args.bits, args.codes, group)
                                     : format_4bit(group);
}

TensorPlan plan_tensor(const std::string& source, const std::string& name, const Shape& shape,
                       const Target& target, bool is_table = false,
                       const std::vector<std::int64_t>& parts = {}) {
  TensorPlan plan{source, name, shape, target.dtype};
  if (target.integers) plan.integers = format_of(*target.integers, shape, is_table, parts);
  return plan;
}

/// The dtype of every tensor, by name.
Dtypes dtypes_of(const TensorSource& tensors) {
  Dtypes dtypes;
  for (const TensorInfo& info : tensors.list()) dtypes[info.name] = info.dtype;
  return dtypes;
}

/// The smoothing of what makes a product's input; -1.
int smoothing_of(const QuantizationPlan& plan, const LinearSite& site) {
  if (site.input_site < 0) return -1;
  return find_smoothing(plan.smoothings,
                        plan.layout.activations[static_cast<std::size_t>(site.input_site)].norm);
}

/// Norms that are divided by factors are kept in f32: the model stays the same function.
void plan_params(const Dtypes& dtypes, QuantizationPlan& plan) {
  for (const ParamSite& site : plan.layout.params) {
    const int smoothing =
        find_smoothing(plan.smoothings, site.name.substr(0, site.name.find_last_of('.')));
    Target target = target_of(plan.recipe, site, dtype_of(dtypes, site.name));
    if (smoothing >= 0) target.dtype = DType::f32;
    plan.tensors.push_back(
        plan_tensor(site.name, site.name, site.shape, target, false, site.parts));
    plan.tensors.back().smoothing = smoothing;
  }
}

void plan_linears(const Dtypes& dtypes, const std::map<std::string, std::int64_t>& blocks,
                  QuantizationPlan& plan) {
  const ModelLayout& layout = plan.layout;
  std::ptrdiff_t table = 0;  // among the plan's tensors
  for (std::size_t i = 0; i < layout.linears.size(); ++i) {
    const LinearSite& site = layout.linears[i];
    const bool is_tied = !site.tied_to.empty(), is_table = site.input_site < 0;
    const std::string source = (is_tied ? site.tied_to : site.name) + ".weight";
    Target target = target_of(plan.recipe, site, dtype_of(dtypes, source));
    const int smoothing = smoothing_of(plan, site);
    const WeightRule* rule = plan.recipe.find_weight(site.name, site.role);
    if (smoothing >= 0 && !(rule && (rule->quantized || rule->dtype))) target.dtype = DType::f32;
    std::int64_t block = 0;
    if (!is_table) {
      const auto rotation =
          blocks.find(layout.activations[static_cast<std::size_t>(site.input_site)].role);
      if (rotation != blocks.end()) block = rotation->second;
    }
    if (is_tied) {
      const auto owner = std::find_if(layout.linears.begin(), layout.linears.end(),
                                      [&](const LinearSite& s) { return s.name == site.tied_to; });
      const DType of_source = dtype_of(dtypes, source);
      const bool are_alike =
          target_of(plan.recipe, *owner, of_source) == target_of(plan.recipe, site, of_source);
      if (are_alike && smoothing < 0) {  // the table is rotated with it and looked up so
        plan.tensors[static_cast<std::size_t>(table)].hadamard_block = block;
        continue;
      }
      plan.unties_head = true;
    }
    if (is_table) table = std::ssize(plan.tensors);
    TensorPlan& tensor = plan.tensors.emplace_back(plan_tensor(
        source, site.name + ".weight", {site.rows, site.cols}, target, is_table, site.parts));
    tensor.hadamard_block = block;
    tensor.smoothing = smoothing;
    if (!is_table) tensor.linear = static_cast<int>(i);
    if (site.has_bias) {
      const std::string bias = site.name + ".bias";
      plan.tensors.push_back(plan_tensor(bias, bias, {site.rows}, {dtype_of(dtypes, bias)}));
    }
  }
}

void plan_activations(const std::map<std::string, std::int64_t>& blocks, QuantizationPlan& plan) {
  for (const auto& [role, rule] : plan.recipe.activations) {
    ActivationNumerics& numerics = plan.numerics[role];
    numerics = {.quantized = true, .args = rule.args};
    const auto is_state = [wanted = &role](const ActivationSite& site) {
      return site.role == *wanted && site.is_state;
    };
    if (rule.args.strategy == Strategy::group &&
        std::none_of(plan.layout.activations.begin(), plan.layout.activations.end(), is_state)) {
      numerics.args.strategy = Strategy::channel;  // how scales by groups are written
    }
  }
  for (const auto& [role, block] : blocks) plan.numerics[role].hadamard_block = block;
  for (std::size_t i = 0; i < plan.layout.activations.size(); ++i) {
    const auto rule = plan.recipe.activations.find(plan.layout.activations[i].role);
    if (rule == plan.recipe.activations.end()) continue;
    const QuantArgs& args = rule->second.args;
    if (args.is_float || args.dynamic) continue;
    plan.static_sites.push_back(static_cast<int>(i));
    if (args.strategy == Strategy::tensor) continue;
    const ActivationSite& site = plan.layout.activations[i];
    QuantizationPlan::Groups& groups = plan.groups[static_cast<int>(i)];
    const std::int64_t count =
        args.strategy == Strategy::channel ? site.channels : std::int64_t{site.groups};
    groups.count = static_cast<int>(count);
    for (std::int64_t c = 0; c < site.channels; ++c) {
      groups.of_channel.push_back(static_cast<int>(c * count / site.channels));
    }
  }
}

}  // namespace

std::size_t bytes_of(const TensorInfo& info) {
  return static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
}

std::vector<TensorInfo> TensorPlan::outputs() const {
  if (!integers) return {{name, dtype, shape}};
  const std::int64_t rows = shape[0], cols = shape.elements() / rows;
  if (!integers->has_bf16_steps) {
    return {{name, DType::i8, shape},
            {name + "_scale", DType::f32, integers->has_one_step ? Shape{1} : Shape{rows, 1}}};
  }
  std::vector<TensorInfo> all;
  if (integers->codes == Codes::ternary) {
    all.push_back({name + "_trits", DType::u8, {trit_bytes(rows * cols)}});
  } else if (integers->is_coded) {
    all.push_back({name + "_codes", DType::u8, {(rows + 1) / 2, cols * integers->bits / 4}});
  } else {
    all.push_back({name + "_packed", DType::i32, {rows, cols / 8}});
  }
  all.push_back({name + "_scale", DType::bf16, {rows, cols / integers->group}});
  all.push_back({name + "_shape", DType::i64, {2}});
  if (integers->is_coded && integers->codes != Codes::ternary) {
    all.push_back({name + "_table", DType::i8, {64}});
  }
  return all;
}

ScaleTensors scale_tensors(const QuantizationPlan& plan, std::size_t i) {
  const int index = plan.static_sites[i];
  const ActivationSite& site = plan.layout.activations[static_cast<std::size_t>(index)];
  const std::string name = site.name + "_scale";
  const auto groups = plan.groups.find(index);
  if (groups == plan.groups.end()) return {{name, DType::f32, {1}}};
  if (!site.is_state || site.states == 0) return {{name, DType::f32, {site.channels}}};
  return {{name, DType::f32, {groups->second.count, site.states}},
          TensorInfo{site.name + "_group", DType::i32, {site.channels}}};
}

std::int64_t QuantizationPlan::scale_count(int site) const {
  const auto found = groups.find(site);
  if (found == groups.end()) return 1;
  const std::int64_t states = layout.activations[static_cast<std::size_t>(site)].states;
  return found->second.count * std::max<std::int64_t>(1, states);
}

namespace {

std::size_t scale_bytes(const QuantizationPlan& plan) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < plan.static_sites.size(); ++i) {
    const ScaleTensors scales = scale_tensors(plan, i);
    bytes += bytes_of(scales.scale) + (scales.group ? bytes_of(*scales.group) : 0);
  }
  return bytes;
}

std::size_t bytes_of(const TensorPlan& tensor) {
  std::size_t bytes = 0;
  for (const TensorInfo& info : tensor.outputs()) bytes += krait::bytes_of(info);
  return bytes;
}

}  // namespace

std::size_t QuantizationPlan::output_bytes() const {
  std::size_t bytes = scale_bytes(*this);
  for (const TensorPlan& tensor : tensors) bytes += bytes_of(tensor);
  return bytes;
}

QuantizationPlan plan_quantization(const Recipe& recipe, const ModelLayout& layout,
                                   const Dtypes& dtypes) {
  QuantizationPlan plan;
  plan.layout = layout;
  plan.recipe = fit_recipe(recipe, plan.layout);
  const std::map<std::string, std::int64_t> blocks = rotation_blocks(plan.recipe, plan.layout);
  plan.smoothings = smoothings_of(plan.recipe, plan.layout);
  plan_linears(dtypes, blocks, plan);
  plan_params(dtypes, plan);
  plan_activations(blocks, plan);
  plan.quantizes =
      !plan.numerics.empty() || std::ranges::any_of(plan.tensors, [](const TensorPlan& tensor) {
        return tensor.integers.has_value();
      });
  return plan;
}

QuantizationPlan plan_quantization(const Recipe& recipe, const Json& config,
                                   const TensorSource& tensors) {
  check(!config.is_object() || !config.contains("quantization_config"), invalid_argument,
        "{} is quantized already; quantize its float original instead", tensors.where());
  return plan_quantization(recipe, describe_model(config, tensors), dtypes_of(tensors));
}

std::map<std::string, std::size_t> quantized_bytes_by_kind(const Recipe& recipe,
                                                           const ModelLayout& layout) {
  const QuantizationPlan plan = plan_quantization(recipe, layout, {});
  std::map<std::string, std::string> kinds;  // by name of the tensor
  for (const LinearSite& site : layout.linears) {
    kinds[site.name + ".weight"] = kinds[site.name + ".bias"] = site.kind;
  }
  for (const ParamSite& site : layout.params) kinds[site.name] = site.kind;
  std::map<std::string, std::size_t> bytes;
  for (const TensorPlan& tensor : plan.tensors) bytes[kinds.at(tensor.name)] += bytes_of(tensor);
  if (const std::size_t scales = scale_bytes(plan)) bytes["scales"] = scales;
  return bytes;
}

std::size_t quantized_bytes(const Recipe& recipe, const ModelLayout& layout) {
  std::size_t sum = 0;
  for (const auto& [kind, bytes] : quantized_bytes_by_kind(recipe, layout)) sum += bytes;
  return sum;
}

}  // namespace krait
