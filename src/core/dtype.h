// Element types, with the names that safetensors uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace krait {

enum class DType : std::uint8_t { f32, f16, bf16, f64, i8, u8, i16, i32, i64, boolean };

std::size_t size_of(DType dtype) noexcept;       ///< bytes per element
std::string_view name_of(DType dtype) noexcept;  ///< "F32", "BF16", "I8", ...
std::optional<DType> parse_dtype(std::string_view name) noexcept;

/// F32, F16 and BF16: what a weight may be stored in before quantization.
constexpr bool is_float(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace krait
