// What a recipe makes of a model, tensor by tensor, decided before anything is computed.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "io/tensor_source.h"
#include "krait/quantize.h"
#include "models/layout.h"
#include "quant/recipe.h"
#include "quant/rtn.h"
#include "quant/smooth.h"

namespace krait {

/// One tensor of the output, with its scale if it is of integers.
struct TensorPlan {
  std::string source;  ///< the tensor it is made of; "": zeros, a new bias
  TensorInfo output;   ///< 4 bits: name + "_packed", i32; codes: "_codes" or "_trits", u8
  Strategy strategy = Strategy::tensor;  ///< integers
  int smoothing = -1;                    ///< >= 0: see smooth(), before everything else
  std::int64_t hadamard_block = 0;       ///< > 0: rows are rotated first
  TensorInfo scale{};                    ///< integers: name + "_scale"; name is "" otherwise
  TensorInfo zero_point{};               ///< parameters in 4 bits: name + "_zero_point"
  std::int64_t group_size = 0;           ///< 4 bits and codes
  TensorInfo shape{};  ///< 4 bits and codes: name + "_shape", which holds source_shape
  Shape source_shape{};
  int code_bits = 0;  ///< codes
  Codes codes = Codes::integer;
  TensorInfo table{};                 ///< codes but ternary ones: name + "_table"
  std::vector<std::int64_t> parts{};  ///< of the rows, if each has its scale
  int linear = -1;  ///< into ModelLayout::linears: the weights of that product, of no table

  /// Integers that a product multiplies: what recipe.rounding is about.
  bool is_rounded_product() const { return linear >= 0 && !scale.name.empty(); }
  bool is_coded() const { return code_bits > 0; }
  IntegerFormat format() const;  ///< of integers
};

/// Integers of weights that are not simply the nearest ones, and corrected biases as they are
/// stored (float ones have no scale), by the name of their tensor.
using RoundedTensors = std::map<std::string, QuantizedTensor>;

struct QuantizationPlan {
  Recipe recipe;
  ModelLayout layout;
  std::vector<TensorPlan> tensors;
  std::vector<int> static_sites;  ///< indices into layout.activations: each has an output scale
  std::vector<Smoothing> smoothings;
  std::map<std::string, ActivationNumerics> numerics;  ///< by role; absent roles are f32
  /// Of a static site with scales by groups: the group of every channel, below `count`. Those that
  /// sort_and_cluster() finds take the place of equal parts.
  struct Groups {
    std::vector<int> of_channel;
    int count = 0;
  };
  std::map<int, Groups> groups;      ///< by activation site
  bool unties_head = false;          ///< table and head were one tensor and become two
  std::set<std::string> new_biases;  ///< keys of config.json that products get biases by
  bool quantizes = false;  ///< false: only dtypes change, the output is a float checkpoint
  bool rough = false;  ///< for speed alone: steps from the largest value, trellis codes at random

  /// Scales of a static site: 1, or by groups [groups], of a state [groups, states].
  std::int64_t scale_count(int site) const;
  std::vector<TensorInfo> outputs() const;  ///< all tensors, scales included
  std::size_t output_bytes() const;         ///< of them
};

/// Checks the recipe against the model first. Errors: see fit_recipe and describe_model;
/// invalid_argument for a checkpoint that is quantized already.
QuantizationPlan plan_quantization(const Recipe& recipe, const Json& config,
                                   const TensorSource& tensors);

/// What calibration finds out.
struct CalibrationResult {
  std::vector<std::vector<float>> static_scales;      ///< of plan.static_sites, scale_count() each
  std::vector<std::vector<float>> smoothing_factors;  ///< of plan.smoothings, [channels] each
};

/// A tensor of the plan before it is rounded or converted: smoothed and rotated.
Tensor float_value(ThreadPool& threads, const TensorPlan& tensor, const TensorSource& tensors,
                   const CalibrationResult& calibrated);

/// The integers of a tensor of the plan nearest to its float value, and their scale.
QuantizedTensor nearest_integers(ThreadPool& threads, const TensorPlan& tensor, const Tensor& value,
                                 StepChoice scale);

/// What stands beside the integers and scales of a tensor: the _shape of 4 bits and codes, i64 [2],
/// and the _table of codes, i8 [64].
std::vector<std::pair<TensorInfo, Tensor>> companions(const TensorPlan& tensor);

/// Streams tensor by tensor from `tensors` to `sink` and finishes it. Those in `rounded` are
/// written as they are there, all other integers are the nearest. Scales by
/// groups are written for every channel, those of a state once for each group beside every
/// channel's group. Peak memory: one float matrix or two if it is smoothed or rotated, and one
/// output tensor.
void write_tensors(const QuantizationPlan& plan, const TensorSource& tensors,
                   const CalibrationResult& calibrated, const RoundedTensors& rounded,
                   ThreadPool& threads, TensorSink& sink, const ProgressFn& progress);

}  // namespace krait
