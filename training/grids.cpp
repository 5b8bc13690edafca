// The nearest weights of a grid (grids.py), of many groups: the straightforward loop, which PyTorch
// would do in some forty passes over memory. Compiled by ops.py.

#include "vec.h"

namespace {

/// The nearest of `levels` ascending digits to w / scale, halfway the upper one.
inline float nearest(float w, float scale, const float* digits, int levels) {
  float q = digits[0];
  for (int i = 1; i < levels; ++i) {
    q += w >= 0.5f * (digits[i - 1] + digits[i]) * scale ? digits[i] - digits[i - 1] : 0.0f;
  }
  return q;
}

template <int levels>
void nearest_of_grid(int groups, int size, int rounds, float start, const float* digits,
                     const float* w, float* q, float* scales, int threads) {
  constexpr int together = 512;
  parallel((groups + together - 1) / together, threads, [&](int item) {
    for (int g = item * together; g < std::min(groups, (item + 1) * together); ++g) {
      const float* x = w + size_t(g) * size;
      float* out = q + size_t(g) * size;
      float sum = 0;
      for (int i = 0; i < size; ++i) sum += std::abs(x[i]);
      float scale = start * std::max(sum / size, 1e-20f);
      for (int round = 0; round < std::max(1, rounds); ++round) {
        float products = 0, squares = 0;
        for (int i = 0; i < size; ++i) {
          const float d = nearest(x[i], scale, digits, levels);
          if (rounds == 0) out[i] = d;
          products += d * x[i];
          squares += d * d;
        }
        if (products > 0) scale = products / squares;
      }
      Bf16 stored;
      put(&stored, scale);
      scales[g] = to_float(stored);
      if (rounds == 0) continue;
      for (int i = 0; i < size; ++i) out[i] = nearest(x[i], scales[g], digits, levels);
    }
  });
}

}  // namespace

// w [groups, size] -> digits q [groups, size], scales [groups]
extern "C" void nearest_of_grid_f32(int groups, int size, int rounds, float start, int levels,
                                    const float* digits, const float* w, float* q, float* scales,
                                    int threads) {
  const auto run = levels == 3 ? nearest_of_grid<3> : nearest_of_grid<4>;
  run(groups, size, rounds, start, digits, w, q, scales, threads);
}
