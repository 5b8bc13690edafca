// How codes lie in PackedCodes, for what does not depend on the instruction set. See core/weight.h.
#pragma once

#include <cstdint>

#include "core/weight.h"
#include "kernels/context.h"

namespace krait {

/// Bytes of 16 packed rows.
std::int64_t packed_codes_stride(const Weight& weight);

/// Up to 16 rows from `row` on (a multiple of 16) as they lie on disk, to packed_codes_stride()
/// bytes.
void pack_code_rows(const Weight& weight, std::int64_t row, std::uint8_t* lines);

/// Makes weight.packed_codes.
void pack_codes(Context& ctx, Weight& weight);

/// Row `row`, packed or not, as f32: out[k] = s_w[row, group of k] * table[..], exact.
void decode_row(const Weight& weight, std::int64_t row, float* out);

}  // namespace krait
