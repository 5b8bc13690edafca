// Plain C++: says what the numbers are; the other variants are compared with it byte by byte.
#include <cmath>
#include <cstring>

#include "core/float16.h"
#include "kernels/linear/linear_kernels.h"

namespace krait {
namespace {

void prepare_i8(const std::int8_t* x, std::int64_t cols, std::uint8_t* out, std::int64_t padded) {
  std::memcpy(out, x, static_cast<std::size_t>(cols));
  std::memset(out + cols, 0, static_cast<std::size_t>(padded - cols));
}

void pack_i8(const I8Rows& p) {
  std::memset(p.tiles, 0, static_cast<std::size_t>((p.cols + 3) / 4 * 64));
  for (std::int64_t r = 0; r < 16; ++r) {
    p.row_sum[r] = 0;
    for (std::int64_t k = 0; k < p.cols && r < p.rows; ++k) {
      p.tiles[k / 4 * 64 + r * 4 + k % 4] = p.q[r * p.cols + k];
      p.row_sum[r] += p.q[r * p.cols + k];
    }
  }
}

void product_i8(const I8Product& p) {
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    const std::int8_t* x = reinterpret_cast<const std::int8_t*>(p.x + t * p.x_stride);
    const float x_scale = p.x_scale[t * p.x_scale_step];
    for (std::int64_t tile_row = 0; tile_row * 16 < p.rows; ++tile_row) {
      std::int32_t sum[16] = {};
      for (std::int64_t j = 0; j < p.cols4; ++j) {
        const std::int8_t* tile = p.tiles + (tile_row * p.cols4 + j) * 64;
        for (int r = 0; r < 16; ++r) {
          for (int k = 0; k < 4; ++k) sum[r] += x[4 * j + k] * tile[4 * r + k];
        }
      }
      for (std::int64_t r = tile_row * 16; r < p.rows && r < tile_row * 16 + 16; ++r) {
        const float scale = x_scale * p.w_scale[r * p.w_scale_step];
        float y = static_cast<float>(sum[r % 16]) * scale;
        if (p.bias) y += p.bias[r];
        p.y[t * p.y_stride + r] = y;
      }
    }
  }
}

void product_outliers(const I8Outliers& p) {
  for (std::int64_t r = 0; r < p.rows; ++r) {
    float o = 0.0f;
    for (std::int64_t i = 0; i < p.count; ++i) {
      const std::int64_t k = p.outliers[i].column;
      const std::int8_t q = p.tiles[(r / 16 * p.cols4 + k / 4) * 64 + r % 16 * 4 + k % 4];
      o = std::fma(p.outliers[i].value, static_cast<float>(q), o);
    }
    p.y[r] = std::fma(o, p.w_scale[r * p.w_scale_step], p.y[r]);
  }
}

float widen(float value) { return value; }
struct F16 {
  std::uint16_t bits;
};
float widen(F16 value) { return f16_to_f32(value.bits); }
struct BF16 {
  std::uint16_t bits;
};
float widen(BF16 value) { return bf16_to_f32(value.bits); }

template <typename W>
void product_float(const FloatProduct& p) {
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    const float* x = p.x + t * p.x_stride;
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const char* row =
          static_cast<const char*>(p.w) + r * p.cols * static_cast<std::int64_t>(sizeof(W));
      float lane[16] = {};
      for (std::int64_t k = 0; k < p.cols; k += 16) {
        for (std::int64_t l = 0; l < 16; ++l) {
          float x_k = 0, w_k = 0;  // the zero padding of the last 16 columns
          if (k + l < p.cols) {
            W w;
            std::memcpy(&w, row + (k + l) * static_cast<std::int64_t>(sizeof w), sizeof w);
            w_k = widen(w);
            x_k = x[k + l];
          }
          lane[l] = std::fma(x_k, w_k, lane[l]);
        }
      }
      for (int half = 8; half > 0; half /= 2) {
        for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
      }
      p.y[t * p.y_stride + r] = p.bias ? lane[0] + p.bias[r] : lane[0];
    }
  }
}

}  // namespace

constinit const LinearKernels linear_reference = {
    .prepare_i8 = prepare_i8,
    .pack_i8 = pack_i8,
    .i8 = product_i8,
    .i8_outliers = product_outliers,
    .f32 = product_float<float>,
    .f16 = product_float<F16>,
    .bf16 = product_float<BF16>,
};

}  // namespace krait
