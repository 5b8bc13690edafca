// What a recipe makes of a model, tensor by tensor, decided before anything is computed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "models/layout.h"
#include "quant/recipe.h"
#include "quant/smooth.h"
#include "quant/steps.h"

namespace krait {

/// One tensor that is made of one of the source's, with what stands beside it.
struct TensorPlan {
  std::string source;  ///< the tensor it is made of
  std::string name;    ///< in the output, without what its form adds: "_packed", "_codes", "_trits"
  Shape shape;         ///< of the source
  DType dtype = DType::f32;                 ///< floats
  std::optional<IntegerFormat> integers{};  ///< or these
  int smoothing = -1;                       ///< >= 0: see smooth(), before everything else
  std::int64_t hadamard_block = 0;          ///< > 0: rows are rotated first
  int linear = -1;  ///< into ModelLayout::linears: the weights of that product, of no table

  /// What is written: the values; of integers the scale; of 4 bits and codes _shape, which holds
  /// `shape`, i64 [2]; of codes but ternary digits the _table, i8 [64].
  std::vector<TensorInfo> outputs() const;
  /// Integers that a product multiplies: what recipe.rounding() is about.
  bool is_rounded_product() const { return linear >= 0 && integers; }
  bool is_coded() const { return integers && integers->is_coded; }
};

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
  std::map<int, Groups> groups;  ///< by activation site
  bool unties_head = false;      ///< table and head were one tensor and become two
  bool quantizes = false;        ///< false: only dtypes change, the output is a float checkpoint
  bool rough = false;  ///< for speed alone: steps from the largest value, trellis codes at random

  /// Scales of a static site: 1, or by groups [groups], of a state [groups, states].
  std::int64_t scale_count(int site) const;
  std::size_t output_bytes() const;  ///< of all tensors, scales included
};

/// The tensors that hold the static scales of plan.static_sites[i].
struct ScaleTensors {
  TensorInfo scale;
  std::optional<TensorInfo> group{};
};
ScaleTensors scale_tensors(const QuantizationPlan& plan, std::size_t i);

std::size_t bytes_of(const TensorInfo& info);

/// Checks the recipe against the model first. Errors: see fit_recipe and describe_model;
/// invalid_argument for a checkpoint that is quantized already.
QuantizationPlan plan_quantization(const Recipe& recipe, const Json& config,
                                   const TensorSource& tensors);

/// The same from shapes alone. `dtypes`: of the source's tensors; those that are not named are f16.
QuantizationPlan plan_quantization(const Recipe& recipe, const ModelLayout& layout,
                                   const std::map<std::string, DType>& dtypes);

/// Bytes of the tensors that a recipe makes of a model, by kind of weight, static scales of
/// activations as "scales"; and their sum. What stays float is f16 in the source.
std::map<std::string, std::size_t> quantized_bytes_by_kind(const Recipe& recipe,
                                                           const ModelLayout& layout);
std::size_t quantized_bytes(const Recipe& recipe, const ModelLayout& layout);

}  // namespace krait
