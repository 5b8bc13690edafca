// What the tests of the operations share: contexts per instruction set, random and guarded memory,
// activations in every numerics.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/rng.h"
#include "kernels/context.h"

namespace krait {

/// Test parameter: an instruction set that this CPU has.
using ForEachIsa = testing::TestWithParam<Isa>;

inline auto supported_isas() {
  std::vector<Isa> isas;
  for (Isa isa : all_isas()) {
    if (cpu_supports(isa)) isas.push_back(isa);
  }
  return testing::ValuesIn(isas);
}
inline std::string isa_name(const testing::TestParamInfo<Isa>& info) {
  return std::string(name_of(info.param));
}

struct TestContext {
  explicit TestContext(Isa isa, int threads = 1)
      : pool(threads), ctx{pool, microkernels(isa), arena} {}
  ThreadPool pool;
  Arena arena;
  Context ctx;
};

/// Uniform in [-bound, bound].
inline std::vector<float> random_floats(Rng& rng, std::int64_t n, double bound) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>((2 * rng.uniform() - 1) * bound);
  return x;
}
/// Uniform in [low, high].
inline std::vector<float> random_floats(Rng& rng, std::int64_t n, double low, double high) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(low + rng.uniform() * (high - low));
  return x;
}
inline std::vector<std::int8_t> random_bytes(Rng& rng, std::int64_t n) {
  std::vector<std::int8_t> q(static_cast<std::size_t>(n));
  for (std::int8_t& v : q) v = static_cast<std::int8_t>(rng.next());
  return q;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// n elements on the heap of exactly that size (AddressSanitizer sees every byte beyond), off by
/// one element from any alignment of vectors, with a canary behind them checked at the end.
template <typename T>
class Guarded {
 public:
  explicit Guarded(std::int64_t n) : memory_(static_cast<std::size_t>(n) + 2, T(77)) {}
  explicit Guarded(const std::vector<T>& values) : Guarded(std::ssize(values)) {
    std::copy(values.begin(), values.end(), memory_.begin() + 1);
  }
  ~Guarded() {
    EXPECT_EQ(memory_.front(), T(77));
    EXPECT_EQ(memory_.back(), T(77));
  }
  T* data() { return memory_.data() + 1; }
  const T* data() const { return memory_.data() + 1; }
  T operator[](std::int64_t i) const { return memory_[static_cast<std::size_t>(i) + 1]; }

 private:
  std::vector<T> memory_;
};

struct Numerics {
  DType dtype;
  Strategy strategy;
  bool dynamic;
};
inline constexpr Numerics kAllNumerics[] = {
    {DType::f32, Strategy::tensor, false}, {DType::i8, Strategy::tensor, false},
    {DType::i8, Strategy::channel, false}, {DType::i8, Strategy::token, true},
    {DType::i8, Strategy::tensor, true},
};

/// A matrix with memory of its own and `gap` elements between its rows. Static channel scales vary
/// around `static_scale`.
struct TestActivation {
  TestActivation(const Numerics& numerics, std::int64_t rows, std::int64_t cols, float static_scale,
                 std::int64_t gap = 0)
      : f32(numerics.dtype == DType::f32 ? static_cast<std::size_t>(rows * (cols + gap)) : 0,
            77.0f),
        i8(numerics.dtype == DType::i8 ? static_cast<std::size_t>(rows * (cols + gap)) : 0, 77),
        scale(static_cast<std::size_t>(std::max<std::int64_t>({rows, cols, 1})), static_scale) {
    if (numerics.strategy == Strategy::channel) {
      for (std::size_t c = 0; c < scale.size(); ++c) {
        scale[c] *= 1.0f + 0.1f * static_cast<float>(c % 7);
      }
    }
    view = {.data = f32.empty() ? static_cast<void*>(i8.data()) : static_cast<void*>(f32.data()),
            .dtype = numerics.dtype,
            .rows = rows,
            .cols = cols,
            .stride = cols + gap,
            .strategy = numerics.strategy,
            .dynamic = numerics.dynamic,
            .scale = scale.data()};
  }
  TestActivation(const TestActivation&) = delete;
  TestActivation& operator=(const TestActivation&) = delete;

  bool gaps_untouched() const {
    for (std::int64_t t = 0; t < view.rows; ++t) {
      for (std::int64_t c = view.cols; c < view.stride; ++c) {
        if (view.dtype == DType::f32 ? view.f32(t)[c] != 77.0f : view.i8(t)[c] != 77) return false;
      }
    }
    return true;
  }
  bool same_bits_as(const TestActivation& other) const {
    return same_bits(f32, other.f32) && same_bits(i8, other.i8) && same_bits(scale, other.scale);
  }

  std::vector<float> f32;
  std::vector<std::int8_t> i8;
  std::vector<float> scale;
  Activation view;
};

}  // namespace krait
