// Weights of 2, 3 and 4 bits as codes: which table, and words from windows. See core/weight.h.
#pragma once

#include <cstdint>
#include <span>

#include "core/quant_args.h"
#include "core/tensor.h"

namespace krait {

/// Columns of two rows that make a word: 16 for 2 bits, 8 for 3 and 4.
constexpr std::int64_t word_columns(int bits) noexcept { return bits == 2 ? 16 : 8; }

/// The table i8 [64] of a kind of code; none is stored with ternary digits. integer: the low `bits`
/// bits as a two's complement number; trellis: 127 / max times the reconstruction points
/// that training/trellis_table.cc found for normal weights of deviation 1, antisymmetric: t[63 - w]
/// = -t[w].
std::span<const std::int8_t, 64> code_table(int bits, Codes codes) noexcept;

/// The unit of the table: weight / step = entry / unit, so that a group of standard deviation d
/// wants a stored scale of about d / unit. 1 for integers.
double code_unit(int bits, Codes codes) noexcept;

/// `data` of core/weight.h from the own bits of every weight: code [rows, cols], each below
/// 2^bits. Window w of weight i is made of its own bits (the lowest) and those of weights i + 1,
/// ...
Tensor pack_codes(std::span<const std::uint8_t> code, std::int64_t rows, std::int64_t cols,
                  int bits);

}  // namespace krait
