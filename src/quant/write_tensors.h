// A plan carried out: tensors of the float checkpoint become those of the quantized one.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/thread_pool.h"
#include "io/tensor_source.h"
#include "krait/quantize.h"
#include "quant/plan.h"

namespace krait {

/// What calibration finds out.
struct CalibrationResult {
  std::vector<std::vector<float>> static_scales;      ///< of plan.static_sites, scale_count() each
  std::vector<std::vector<float>> smoothing_factors;  ///< of plan.smoothings, [channels] each
};

/// Integers of weights that are not simply the nearest ones, by TensorPlan::name.
using RoundedTensors = std::map<std::string, QuantizedTensor>;

/// A tensor of the plan before it is rounded or converted: smoothed and rotated.
Tensor float_value(ThreadPool& threads, const TensorPlan& tensor, const TensorSource& tensors,
                   const CalibrationResult& calibrated);

/// Integers with all that stands beside them, in the order of tensor.outputs().
using NamedTensor = std::pair<std::string, Tensor>;
std::vector<NamedTensor> stored(const TensorPlan& tensor, const QuantizedTensor& made);

/// Streams tensor by tensor from `tensors` to `sink` and finishes it. Those in `rounded` are
/// written as they are there, all other integers are the nearest. Scales by groups are written for
/// every channel, those of a state once for each group beside every channel's group. Peak memory:
/// two float matrices, and one output tensor.
void write_tensors(const QuantizationPlan& plan, const TensorSource& tensors,
                   const CalibrationResult& calibrated, const RoundedTensors& rounded,
                   ThreadPool& threads, TensorSink& sink, const ProgressFn& progress);

}  // namespace krait
