#include "quant/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/float16.h"
#include "core/rng.h"
#include "core/trits.h"
#include "quant/codes.h"
#include "quant/rotate.h"
#include "quant/rtn.h"

namespace krait {
namespace {

using enum ErrorCode;

/// What a weight becomes: rules and source dtype together.
struct Target {
  DType dtype = DType::f32;
  Strategy strategy = Strategy::tensor;
  std::int64_t group_size = 0;  ///< 4 bits, dtype i32, and codes, u8: at most
  bool by_part = false;         ///< a scale for each part of the rows
  int bits = 8;
  Codes codes = Codes::integer;
  bool operator==(const Target&) const = default;
};

/// `is_table`: what the embeddings are made of, and a head that is tied to them.
template <typename Site>
Target target_of(const Recipe& recipe, const Site& site, DType source, bool is_table = false) {
  const WeightRule* rule = recipe.find_weight(site.name, site.role);
  if (!rule) return {source, Strategy::tensor, 0};
  if (!rule->quantized) return {rule->dtype, Strategy::tensor, 0};
  const QuantArgs& args = rule->args;
  const DType dtype = args.bits == 8                ? DType::i8
                      : is_table || has_codes(args) ? DType::u8
                                                    : DType::i32;
  return {dtype, args.strategy, args.group_size, rule->by_part, args.bits, args.codes};
}

TensorPlan plan_tensor(const std::string& source, const std::string& name, const Shape& shape,
                       const Target& target, std::int64_t block,
                       const std::vector<std::int64_t>& parts = {}) {
  TensorPlan plan{source, {name, target.dtype, shape}, target.strategy};
  plan.hadamard_block = block;
  if (target.by_part) plan.parts = parts;
  if (target.dtype == DType::i32 && target.strategy == Strategy::tensor) {
    plan.output = {name + "_packed", DType::i32, {shape[0], shape[1] / 8}};
    plan.scale = {name + "_scale", DType::f32, {1}};
    plan.zero_point = {name + "_zero_point", DType::f32, {1}};
  } else if (target.dtype == DType::i32 || target.dtype == DType::u8) {
    plan.group_size =
        target.strategy == Strategy::channel ? shape[1] : group_within(target.group_size, shape[1]);
    if (target.dtype == DType::u8) {
      plan.code_bits = target.bits;
      plan.codes = target.codes;
    }
    if (target.dtype == DType::u8 && target.codes == Codes::ternary) {
      plan.output = {name + "_trits", DType::u8, {trit_bytes(shape[0] * shape[1])}};
    } else if (target.dtype == DType::u8) {
      plan.output = {name + "_codes", DType::u8, {(shape[0] + 1) / 2, shape[1] * target.bits / 4}};
      plan.table = {name + "_table", DType::i8, {64}};
    } else {
      plan.output = {name + "_packed", DType::i32, {shape[0], shape[1] / 8}};
    }
    plan.scale = {name + "_scale", DType::bf16, {shape[0], shape[1] / plan.group_size}};
    plan.shape = {name + "_shape", DType::i64, {2}};
    plan.source_shape = shape;
  }
  if (target.dtype == DType::i8) {
    const bool by_row = target.strategy == Strategy::channel;
    plan.scale = {name + "_scale", DType::f32, by_row ? Shape{shape[0], 1} : Shape{1}};
  }
  return plan;
}

std::size_t bytes_of(const TensorInfo& info) {
  return static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
}

/// The dtype of every tensor, by name.
std::map<std::string, DType> dtypes_of(const TensorSource& tensors) {
  std::map<std::string, DType> dtypes;
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
void plan_params(const std::map<std::string, DType>& dtypes, QuantizationPlan& plan) {
  for (const ParamSite& site : plan.layout.params) {
    const int smoothing =
        find_smoothing(plan.smoothings, site.name.substr(0, site.name.find_last_of('.')));
    Target target = target_of(plan.recipe, site, dtypes.at(site.name));
    if (smoothing >= 0) target.dtype = DType::f32;
    plan.tensors.push_back(plan_tensor(site.name, site.name, site.shape, target, 0, site.parts));
    plan.tensors.back().smoothing = smoothing;
  }
}

/// What a correction is worth keeping of: it is an estimate.
constexpr DType kNewBiasDType = DType::bf16;

/// The keys of products whose biases shall be corrected but do not exist. All products with the key
/// get one.
std::set<std::string> new_biases(const QuantizationPlan& plan) {
  std::set<std::string> keys;
  if (!plan.recipe.rounding.corrects_bias) return keys;
  for (const LinearSite& site : plan.layout.linears) {
    const WeightRule* rule = plan.recipe.find_weight(site.name, site.role);
    const bool is_rounded = rule && rule->quantized;
    if (is_rounded && !site.has_bias && !site.bias_key.empty()) keys.insert(site.bias_key);
  }
  return keys;
}

void plan_linears(const std::map<std::string, DType>& dtypes,
                  const std::map<std::string, std::int64_t>& blocks, QuantizationPlan& plan) {
  const ModelLayout& layout = plan.layout;
  std::ptrdiff_t table = 0;  // among the plan's tensors
  plan.new_biases = new_biases(plan);
  for (std::size_t i = 0; i < layout.linears.size(); ++i) {
    const LinearSite& site = layout.linears[i];
    const bool is_tied = !site.tied_to.empty();
    const std::string source = (is_tied ? site.tied_to : site.name) + ".weight";
    const bool is_table = site.input_site < 0;
    Target target = target_of(plan.recipe, site, dtypes.at(source), is_table);
    const int smoothing = smoothing_of(plan, site);
    if (smoothing >= 0 && !plan.recipe.find_weight(site.name, site.role)) target.dtype = DType::f32;
    std::int64_t block = 0;
    if (site.input_site >= 0) {
      const auto rotation =
          blocks.find(layout.activations[static_cast<std::size_t>(site.input_site)].role);
      if (rotation != blocks.end()) block = rotation->second;
    }
    if (is_tied) {
      const auto owner = std::find_if(layout.linears.begin(), layout.linears.end(),
                                      [&](const LinearSite& s) { return s.name == site.tied_to; });
      const Target of_table = target_of(plan.recipe, *owner, dtypes.at(source), true);
      const Target as_table = target_of(plan.recipe, site, dtypes.at(source), true);
      if (as_table == of_table && smoothing < 0) {  // the table is rotated with it and looked up so
        plan.tensors[static_cast<std::size_t>(table)].hadamard_block = block;
        continue;
      }
      plan.unties_head = true;
    }
    if (is_table) table = std::ssize(plan.tensors);
    plan.tensors.push_back(plan_tensor(source, site.name + ".weight", {site.rows, site.cols},
                                       target, block, site.parts));
    plan.tensors.back().smoothing = smoothing;
    if (site.input_site >= 0) plan.tensors.back().linear = static_cast<int>(i);
    if (site.has_bias) {
      const std::string bias = site.name + ".bias";
      plan.tensors.push_back(
          plan_tensor(bias, bias, {site.rows}, {dtypes.at(bias), Strategy::tensor, 0}, 0));
    } else if (plan.new_biases.contains(site.bias_key)) {
      plan.tensors.push_back(plan_tensor("", site.name + ".bias", {site.rows},
                                         {kNewBiasDType, Strategy::tensor, 0}, 0));
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

/// The tensors that hold the static scales of plan.static_sites[i].
struct ScaleTensors {
  TensorInfo scale;
  TensorInfo group{};  // "": none
};

ScaleTensors scale_tensors(const QuantizationPlan& plan, std::size_t i) {
  const int index = plan.static_sites[i];
  const ActivationSite& site = plan.layout.activations[static_cast<std::size_t>(index)];
  const std::string name = site.name + "_scale";
  const auto groups = plan.groups.find(index);
  if (groups == plan.groups.end()) return {{name, DType::f32, {1}}};
  if (!site.is_state || site.states == 0) return {{name, DType::f32, {site.channels}}};
  return {{name, DType::f32, {groups->second.count, site.states}},
          {site.name + "_group", DType::i32, {site.channels}}};
}

void write_scales(const QuantizationPlan& plan, std::size_t i, const std::vector<float>& scales,
                  TensorSink& sink) {
  const ScaleTensors tensors = scale_tensors(plan, i);
  const auto groups = plan.groups.find(plan.static_sites[i]);
  std::vector<float> values = scales;
  if (groups != plan.groups.end() && tensors.group.name.empty()) {
    values.clear();
    for (const int group : groups->second.of_channel) {
      values.push_back(scales[static_cast<std::size_t>(group)]);
    }
  }
  sink.write(tensors.scale.name, {values.data(), DType::f32, tensors.scale.shape});
  if (tensors.group.name.empty()) return;
  const std::vector<std::int32_t> group(groups->second.of_channel.begin(),
                                        groups->second.of_channel.end());
  sink.write(tensors.group.name, {group.data(), DType::i32, tensors.group.shape});
}

}  // namespace

IntegerFormat TensorPlan::format() const {
  if (is_coded()) return format_codes(code_bits, codes, group_size);
  if (group_size > 0) return format_4bit(group_size);
  return format_8bit(strategy, parts, output.shape[0], output.shape[1]);
}

std::int64_t QuantizationPlan::scale_count(int site) const {
  const auto found = groups.find(site);
  if (found == groups.end()) return 1;
  const std::int64_t states = layout.activations[static_cast<std::size_t>(site)].states;
  return found->second.count * std::max<std::int64_t>(1, states);
}

std::vector<TensorInfo> QuantizationPlan::outputs() const {
  std::vector<TensorInfo> infos;
  const auto add = [&](const TensorInfo& info) {
    if (!info.name.empty()) infos.push_back(info);
  };
  for (const TensorPlan& tensor : tensors) {
    for (const TensorInfo* info :
         {&tensor.output, &tensor.scale, &tensor.zero_point, &tensor.shape, &tensor.table}) {
      add(*info);
    }
  }
  for (std::size_t i = 0; i < static_sites.size(); ++i) {
    const ScaleTensors scales = scale_tensors(*this, i);
    add(scales.scale);
    add(scales.group);
  }
  return infos;
}

std::size_t QuantizationPlan::output_bytes() const {
  std::size_t bytes = 0;
  for (const TensorInfo& info : outputs()) bytes += bytes_of(info);
  return bytes;
}

QuantizationPlan plan_quantization(const Recipe& recipe, const Json& config,
                                   const TensorSource& tensors) {
  check(!config.is_object() || !config.contains("quantization_config"), invalid_argument,
        "{} is quantized already; quantize its float original instead", tensors.where());
  QuantizationPlan plan;
  plan.layout = describe_model(config, tensors);
  plan.recipe = fit_recipe(recipe, plan.layout);
  const std::map<std::string, std::int64_t> blocks = rotation_blocks(plan.recipe, plan.layout);
  const std::map<std::string, DType> dtypes = dtypes_of(tensors);
  plan.smoothings = smoothings_of(plan.recipe, plan.layout);
  plan_linears(dtypes, blocks, plan);
  plan_params(dtypes, plan);
  plan_activations(blocks, plan);
  plan.quantizes = !plan.numerics.empty() ||
                   std::any_of(plan.tensors.begin(), plan.tensors.end(),
                               [](const TensorPlan& t) { return !t.scale.name.empty(); });
  return plan;
}

Tensor float_value(ThreadPool& threads, const TensorPlan& tensor, const TensorSource& tensors,
                   const CalibrationResult& calibrated) {
  if (tensor.source.empty()) return Tensor(DType::f32, tensor.output.shape);
  Tensor value = tensors.get(tensor.source);
  if (tensor.smoothing >= 0) {
    const auto index = static_cast<std::size_t>(tensor.smoothing);
    value = smooth(threads, value.view(), calibrated.smoothing_factors[index]);
  }
  if (tensor.hadamard_block > 0) {
    value = rotate_rows(threads, value.view(), tensor.hadamard_block, tensor.source);
  }
  return value;
}

std::vector<std::pair<TensorInfo, Tensor>> companions(const TensorPlan& tensor) {
  std::vector<std::pair<TensorInfo, Tensor>> result;
  if (!tensor.shape.name.empty()) {
    Tensor shape(DType::i64, {2});
    const std::int64_t dims[2] = {tensor.source_shape[0], tensor.source_shape[1]};
    std::memcpy(shape.mutable_as<std::byte>().data(), dims, sizeof dims);
    result.emplace_back(tensor.shape, std::move(shape));
  }
  if (!tensor.table.name.empty()) {
    Tensor table(DType::i8, {64});
    std::ranges::copy(code_table(tensor.code_bits, tensor.codes),
                      table.mutable_as<std::int8_t>().begin());
    result.emplace_back(tensor.table, std::move(table));
  }
  return result;
}

namespace {

/// Words of a trellis code that have nothing of the value but each group's deviation.
QuantizedTensor random_words(ThreadPool& threads, const TensorPlan& tensor, const Tensor& value) {
  const Tensor wide = convert_float(threads, value, DType::f32, tensor.source);
  const std::span<const float> w = wide.as<float>();
  QuantizedTensor made{Tensor(DType::u8, tensor.output.shape),
                       Tensor(DType::bf16, tensor.scale.shape)};
  const std::span<std::uint8_t> words = made.q.mutable_as<std::uint8_t>();
  const auto bytes = static_cast<std::int64_t>(words.size());
  threads.parallel_for(bytes, 1 << 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; i += 8) {  // by place: the same for any threads
      const std::uint64_t random = Rng(static_cast<std::uint64_t>(i)).next();
      std::memcpy(words.data() + i, &random,
                  static_cast<std::size_t>(std::min<std::int64_t>(8, end - i)));
    }
  });
  const std::span<std::uint16_t> scales = made.scale.mutable_as<std::uint16_t>();
  double of_table = 0;
  for (const std::int8_t entry : code_table(tensor.code_bits, tensor.codes)) {
    of_table += entry * entry / 64.0;
  }
  of_table = std::sqrt(of_table);
  const std::size_t group = w.size() / scales.size();
  for (std::size_t i = 0; i < scales.size(); ++i) {
    double squares = 0;
    for (const float x : w.subspan(i * group, group)) squares += static_cast<double>(x * x);
    const double deviation = std::sqrt(squares / static_cast<double>(group));
    const double step = std::max(deviation, 1e-6) / of_table;
    scales[i] = f32_to_bf16(static_cast<float>(step));
  }
  return made;
}

}  // namespace

QuantizedTensor nearest_integers(ThreadPool& threads, const TensorPlan& tensor, const Tensor& value,
                                 StepChoice scale) {
  if (tensor.is_coded() || (tensor.is_rounded_product() && scale != StepChoice::absmax)) {
    const Tensor wide = convert_float(threads, value, DType::f32, tensor.source);
    const std::int64_t rows = value.shape()[0], cols = value.shape()[1];
    const IntegerFormat format = tensor.format();
    const RoundedMatrix rounded =
        round_nearest(threads, wide.as<float>(), rows, cols, {}, format, scale);
    return pack_rounded(rounded, rows, cols, format, tensor.strategy);
  }
  if (!tensor.zero_point.name.empty()) return quantize_rtn_4bit_tensor(value.view(), tensor.source);
  if (tensor.group_size > 0) {
    return quantize_rtn_4bit(threads, value.view(), tensor.group_size, tensor.source);
  }
  if (!tensor.parts.empty()) {
    return quantize_rtn_parts(threads, value.view(), tensor.parts, tensor.source);
  }
  return quantize_rtn(threads, value.view(), tensor.strategy, tensor.source);
}

void write_tensors(const QuantizationPlan& plan, const TensorSource& tensors,
                   const CalibrationResult& calibrated, const RoundedTensors& rounded,
                   ThreadPool& threads, TensorSink& sink, const ProgressFn& progress) {
  for (const TensorInfo& info : plan.outputs()) sink.declare(info);

  Progress report{"quantize", 0, static_cast<std::int64_t>(plan.tensors.size()), "tensors"};
  for (const TensorPlan& tensor : plan.tensors) {
    if (progress) progress(report);
    const auto made = rounded.find(tensor.output.name);
    if (!tensor.scale.name.empty()) {
      const auto make = [&](const Tensor& value) {
        if (plan.rough && tensor.codes == Codes::trellis) {
          return random_words(threads, tensor, value);
        }
        return nearest_integers(
            threads, tensor, value,
            plan.rough ? StepChoice::absmax : plan.recipe.rounding.options.scale);
      };
      const QuantizedTensor quantized =
          made != rounded.end() ? made->second
                                : make(float_value(threads, tensor, tensors, calibrated));
      sink.write(tensor.output.name, quantized.q.view());
      sink.write(tensor.scale.name, quantized.scale.view());
      if (!tensor.zero_point.name.empty()) {
        sink.write(tensor.zero_point.name, quantized.zero_point.view());
      }
      for (const auto& [info, made_once] : companions(tensor)) {
        sink.write(info.name, made_once.view());
      }
    } else if (made != rounded.end()) {
      sink.write(tensor.output.name, made->second.q.view());
    } else {
      const Tensor value = float_value(threads, tensor, tensors, calibrated);
      sink.write(tensor.output.name,
                 convert_float(threads, value, tensor.output.dtype, tensor.source).view());
    }
    ++report.done;
  }
  for (std::size_t i = 0; i < plan.static_sites.size(); ++i) {
    write_scales(plan, i, calibrated.static_scales[i], sink);
  }
  if (progress) progress(report);
  sink.finish();
}

}  // namespace krait
