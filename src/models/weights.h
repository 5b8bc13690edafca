// Reading tensors of a checkpoint that describe_model() has accepted into what kernels take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/weight.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/context.h"
#include "models/layout.h"

namespace krait {

/// Refuses tensors that hold NaN or infinity, naming all of them (bad_data). Float tensors only;
/// scales must also be above 0, in whichever float type. Names that end with one of `ignored` are
/// not read.
void check_finite(Context& ctx, const TensorSource& tensors,
                  std::span<const std::string_view> ignored = {});

/// The matrix of a site: floats as they lie in the source; I8, 4 bits and codes packed if every
/// token's product will read it, and otherwise as they lie in the source too, for products that few
/// tokens need: see linear(). 4 bits with scales other than bf16 are packed in any case. Errors:
/// see check_linear; bad_data for a weight_shape that says something else.
Weight load_weight(Context& ctx, const TensorSource& tensors, const LinearSite& site, bool packed);
/// A small parameter as f32, whatever it is stored in.
Tensor load_param(const TensorSource& tensors, const ParamSite& site);
/// Channels [begin, end) of conv1d.weight [C, 1, K] and its bias, transposed to [K, end - begin];
/// I8 is kept if `keep_int8`.
ConvWeight load_conv(const TensorSource& tensors, const ParamSite& weight, const ParamSite* bias,
                     bool keep_int8, std::int64_t begin, std::int64_t end);

/// An activation site, ready for the forward pass.
struct Site {
  int index = -1;  ///< into ModelLayout::activations
  std::string name = {};
  std::int64_t channels = 0;
  ActivationNumerics numerics = {};
  Tensor scale = {};  ///< static int8: f32 [1] or [channels]; a state's always [channels], or by
                      ///< groups [groups, states]
  Tensor group = {};  ///< scales by groups: i32 [channels], each in [0, groups)

  bool is_int8() const noexcept { return numerics.quantized && !numerics.args.is_float; }
  bool is_static_int8() const noexcept { return is_int8() && !numerics.args.dynamic; }
  /// Static with one scale: what convolution and products multiply in integers.
  bool has_one_scale() const noexcept {
    return is_static_int8() && numerics.args.strategy == Strategy::tensor;
  }
  /// Of a state or cache: what its elements are stored in.
  DType state_dtype() const noexcept {
    if (!numerics.quantized) return DType::f32;
    return numerics.args.is_float ? DType::f16 : DType::i8;
  }
};

/// The site of that index in its numerics, scales not read.
Site numeric_site(const ModelLayout& layout, int index,
                  const std::map<std::string, ActivationNumerics>& numerics);
/// Reads what static numerics of the site need.
void load_scales(const TensorSource& tensors, const ModelLayout& layout, Site& site);

/// Refuses codes whose input is not int8, and 4 bits and codes whose input is split by outliers: no
/// product takes them (unsupported).
void check_input(const Weight& weight, const LinearSite& site, const Site& input);

/// Bytes that one pass over the weight reads: integers as packed, scales and bias.
std::size_t read_bytes(const Weight& weight) noexcept;

}  // namespace krait
