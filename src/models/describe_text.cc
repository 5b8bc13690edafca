#include "models/describe_text.h"

#include <fmt/format.h>

namespace krait {

std::string numerics_text(const ActivationNumerics& numerics) {
  std::string text = "float32";
  if (numerics.quantized && numerics.args.is_float) {
    text = fmt::format("float{}", numerics.args.bits);
  } else if (numerics.quantized) {
    text =
        fmt::format("int{} {} per {}", numerics.args.bits,
                    numerics.args.dynamic ? "dynamic" : "static", name_of(numerics.args.strategy));
  }
  if (numerics.args.outlier_threshold > 0) {
    text += fmt::format(", magnitudes above {} float", numerics.args.outlier_threshold);
  }
  if (numerics.hadamard_block > 0) {
    text += fmt::format(", Hadamard of {}", numerics.hadamard_block);
  }
  return text;
}

}  // namespace krait
