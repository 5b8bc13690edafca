// The steps (scales) of a matrix of integers or codes: from its largest weights, or by a search.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/quant_args.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "quant/rounding.h"

namespace krait {

/// The integers of a matrix [rows, cols], or the table entries that codes stand for, and what
/// shares a step.
struct IntegerFormat {
  int low = -127, high = 127;
  std::int64_t group = 0;           ///< consecutive columns of a row share a step; divides cols
  std::vector<std::int64_t> parts;  ///< and so do that many consecutive rows; {}: no two rows do
  bool has_one_step = false;        ///< stored as one: int8 by tensor
  bool has_bf16_steps = false;      ///< all but int8
  int bits = 8;
  bool is_coded = false;  ///< stored as codes: core/weight.h
  Codes codes = Codes::integer;

  bool is_trellis() const { return codes == Codes::trellis; }
  bool operator==(const IntegerFormat&) const = default;
};

/// Integers, or table entries, and their steps [rows, cols / group].
struct RoundedMatrix {
  std::vector<std::int8_t> q;  ///< [rows, cols]: weight = step * q
  std::vector<float> steps;
  std::vector<std::uint8_t> code = {};  ///< trellis codes: the own bits of every weight
};

/// Integers as a checkpoint stores them: i8, the shape of the values; 4 bits: i32 [rows, cols / 8];
/// codes and ternary digits: u8; all of core/weight.h.
struct QuantizedTensor {
  Tensor q;
  Tensor scale;  ///< int8: f32 [1] or [rows, 1]; else bf16 [rows, cols / group]
};

/// The group that `at_most` columns mean for rows of `cols`: the largest power of two not above it
/// that divides cols.
std::int64_t group_within(std::int64_t at_most, std::int64_t cols);

/// The formats of docs/methods/numbers.md: by group of columns of 4-bit integers or of codes, of int8
/// by tensor, channel (row) or parts of the rows.
IntegerFormat format_4bit(std::int64_t group);
IntegerFormat format_codes(int bits, Codes codes, std::int64_t group);
IntegerFormat format_8bit(Strategy strategy, std::span<const std::int64_t> parts, std::int64_t rows,
                          std::int64_t cols);

/// A float value between the grid's ends rounded to the nearest: rne(x / step), the f32 division.
int round_to_grid(float x, float step, const IntegerFormat& format);

/// The step nearest to `step` that the format can keep, 1 for steps below 1e-30.
float representable_step(double step, const IntegerFormat& format);

/// Steps [rows, cols / group] of w [rows, cols], finite, for integers and ternary digits. `weights`
/// [cols], not negative, are for weighted_mse. A search tries max (1 - k / 100), k = 0 to 65, where
/// max is absmax's choice, adds up squared errors in double precision in the order of rows and
/// columns and takes the first of the best: the same for any number of threads. For ternary digits
/// it is exact: the best digits for any step are the signs of the k largest weights, for one k, and
/// the best step for them is their mean magnitude.
std::vector<float> choose_steps(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                                std::int64_t cols, const IntegerFormat& format, StepChoice choice,
                                std::span<const double> weights);

/// As a checkpoint stores it. The rows are the first dimension, the columns all others.
QuantizedTensor pack_rounded(const RoundedMatrix& rounded, const Shape& shape,
                             const IntegerFormat& format);

}  // namespace krait
