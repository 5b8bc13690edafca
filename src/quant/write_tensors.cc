#include "quant/write_tensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/float16.h"
#include "core/rng.h"
#include "quant/codes.h"
#include "quant/convert.h"
#include "quant/nearest.h"

namespace krait {
namespace {

void write_scales(const QuantizationPlan& plan, std::size_t i, const std::vector<float>& scales,
                  TensorSink& sink) {
  const ScaleTensors tensors = scale_tensors(plan, i);
  const auto groups = plan.groups.find(plan.static_sites[i]);
  std::vector<float> values = scales;
  if (groups != plan.groups.end() && !tensors.group) {
    values.clear();
    for (const int group : groups->second.of_channel) {
      values.push_back(scales[static_cast<std::size_t>(group)]);
    }
  }
  sink.write(tensors.scale.name, {values.data(), DType::f32, tensors.scale.shape});
  if (!tensors.group) return;
  const std::vector<std::int32_t> group(groups->second.of_channel.begin(),
                                        groups->second.of_channel.end());
  sink.write(tensors.group->name, {group.data(), DType::i32, tensors.group->shape});
}

/// Words of a trellis code that have nothing of the value but each group's deviation.
QuantizedTensor random_words(ThreadPool& threads, const TensorPlan& tensor, const Tensor& value) {
  const Tensor wide = convert_float(threads, value, DType::f32, tensor.source);
  const std::span<const float> w = wide.as<float>();
  const std::vector<TensorInfo> outputs = tensor.outputs();
  QuantizedTensor made{Tensor(DType::u8, outputs[0].shape), Tensor(DType::bf16, outputs[1].shape)};
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
  for (const std::int8_t entry : code_table(tensor.integers->bits, tensor.integers->codes)) {
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

Tensor float_value(ThreadPool& threads, const TensorPlan& tensor, const TensorSource& tensors,
                   const CalibrationResult& calibrated) {
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

std::vector<NamedTensor> stored(const TensorPlan& tensor, const QuantizedTensor& made) {
  const std::vector<TensorInfo> infos = tensor.outputs();
  std::vector<NamedTensor> result = {{infos[0].name, made.q}, {infos[1].name, made.scale}};
  if (infos.size() > 2) {
    Tensor shape(DType::i64, {2});
    const std::int64_t dims[2] = {tensor.shape[0], tensor.shape[1]};
    std::memcpy(shape.mutable_as<std::byte>().data(), dims, sizeof dims);
    result.emplace_back(infos[2].name, std::move(shape));
  }
  if (infos.size() > 3) {
    Tensor table(DType::i8, {64});
    std::ranges::copy(code_table(tensor.integers->bits, tensor.integers->codes),
                      table.mutable_as<std::int8_t>().begin());
    result.emplace_back(infos[3].name, std::move(table));
  }
  return result;
}

void write_tensors(const QuantizationPlan& plan, const TensorSource& tensors,
                   const CalibrationResult& calibrated, const RoundedTensors& rounded,
                   ThreadPool& threads, TensorSink& sink, const ProgressFn& progress) {
  for (const TensorPlan& tensor : plan.tensors) {
    for (const TensorInfo& info : tensor.outputs()) sink.declare(info);
  }
  for (std::size_t i = 0; i < plan.static_sites.size(); ++i) {
    const ScaleTensors scales = scale_tensors(plan, i);
    sink.declare(scales.scale);
    if (scales.group) sink.declare(*scales.group);
  }

  Progress report{"quantize", 0, static_cast<std::int64_t>(plan.tensors.size()), "tensors"};
  for (const TensorPlan& tensor : plan.tensors) {
    if (progress) progress(report);
    ++report.done;
    const auto made = rounded.find(tensor.name);
    if (made != rounded.end()) {
      for (const auto& [name, value] : stored(tensor, made->second)) {
        sink.write(name, value.view());
      }
      continue;
    }
    const Tensor value = float_value(threads, tensor, tensors, calibrated);
    if (!tensor.integers) {
      sink.write(tensor.name, convert_float(threads, value, tensor.dtype, tensor.source).view());
      continue;
    }
    // A search is for products and for codes, which have no use for the largest weights.
    const bool searches = !plan.rough && (tensor.is_coded() || tensor.linear >= 0);
    const StepChoice choice = searches ? plan.recipe.rounding().scale : StepChoice::absmax;
    const QuantizedTensor nearest =
        plan.rough && tensor.integers->is_trellis()
            ? random_words(threads, tensor, value)
            : quantize_nearest(threads, value, *tensor.integers, choice, tensor.source);
    for (const auto& [name, part] : stored(tensor, nearest)) sink.write(name, part.view());
  }
  for (std::size_t i = 0; i < plan.static_sites.size(); ++i) {
    write_scales(plan, i, calibrated.static_scales[i], sink);
  }
  if (progress) progress(report);
  sink.finish();
}

}  // namespace krait
