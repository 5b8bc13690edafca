#include <cassert>
#include <cstring>

#include "core/float16.h"
#include "kernels/cpu_operations.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_codes.h"

namespace krait {
namespace {

/// Row `id` of packed int8 weights: out[k] = scale * q.
void packed_row(const Weight& table, std::int64_t id, float scale, float* out) {
  const std::int64_t cols = table.cols(), cols4 = (cols + 3) / 4;
  const std::int8_t* tile =
      table.packed->tiles.as<std::int8_t>().data() + (id / 16 * cols4 * 16 + id % 16) * 4;
  for (std::int64_t k = 0; k < cols; ++k) {
    const std::int8_t q = tile[k / 4 * 64 + k % 4];
    out[k] = scale * static_cast<float>(q);
  }
}

}  // namespace

void cpu::embedding(Context& ctx, const Weight& table, std::span<const std::int32_t> ids, float* out) {
  const std::int64_t cols = table.cols();
  const auto rows = [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t id = ids[static_cast<std::size_t>(t)];
      assert(id >= 0 && id < table.rows());
      float* row = out + t * cols;
      if (table.is_coded()) {
        decode_row(table, id, row);
        continue;
      }
      const std::byte* from = static_cast<const std::byte*>(table.data.view().data) +
                              id * cols * static_cast<std::int64_t>(size_of(table.data.dtype()));
      // Copied element by element, as a mapped table may lie at any address.
      const auto each = [&](auto element, auto&& widen) {
        for (std::int64_t k = 0; k < cols; ++k) {
          std::memcpy(&element, from + k * static_cast<std::int64_t>(sizeof element),
                      sizeof element);
          row[k] = widen(element);
        }
      };
      switch (table.data.dtype()) {
        case DType::f32:
          each(float{}, [](float w) { return w; });
          break;
        case DType::f16:
          each(std::uint16_t{}, f16_to_f32);
          break;
        case DType::bf16:
          each(std::uint16_t{}, bf16_to_f32);
          break;
        default: {
          const std::span<const float> scales = table.scale.as<float>();
          const float scale =
              scales[table.strategy == Strategy::channel ? static_cast<std::size_t>(id) : 0];
          if (table.packed) {
            packed_row(table, id, scale, row);
          } else {
            each(std::int8_t{}, [&](std::int8_t q) { return scale * static_cast<float>(q); });
          }
        }
      }
    }
  };
  ctx.threads.parallel_for(static_cast<std::int64_t>(ids.size()), ((1 << 14) + cols - 1) / cols,
                           rows);
}

}  // namespace krait
