// How numbers are quantized, in the words of compressed-tensors.
#pragma once

#include <optional>
#include <string_view>

namespace krait {

/// What shares one scale: the whole tensor, an output row of a weight or a column of an activation
/// (channel), `group_size` consecutive inputs of a row (group), or a row of an activation (token).
enum class Strategy { tensor, channel, group, token };

/// What the bits of a weight of 2, 3 or 4 bits mean: an integer, one of -1, 0 and 1 (2 bits), or a
/// step of a trellis code (core/weight.h).
enum class Codes { integer, ternary, trellis };

/// Integer numerics of one weight, parameter or activation: value = scale * q, q in
/// [-2^(bits-1), 2^(bits-1) - 1] (weights use the symmetric part only), round half to even,
/// saturate. bits 16 with `is_float` is IEEE half precision (used for the state).
struct QuantArgs {
  int bits = 8;
  bool is_float = false;
  bool symmetric = true;
  Strategy strategy = Strategy::tensor;
  int group_size = 0;            ///< Strategy::group only
  Codes codes = Codes::integer;  ///< weights only
  bool dynamic = false;  ///< activations: the scale is measured on the fly instead of calibrated
  /// Activations, dynamic per token: values of a larger magnitude stay float; 0: none does.
  float outlier_threshold = 0;
  bool operator==(const QuantArgs&) const = default;
};

std::string_view name_of(Strategy strategy) noexcept;  ///< "tensor", ...
std::string_view name_of(Codes codes) noexcept;        ///< "integer", ...
std::optional<Codes> parse_codes(std::string_view name) noexcept;
std::optional<Strategy> parse_strategy(std::string_view name) noexcept;

}  // namespace krait
