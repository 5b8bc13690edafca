#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/float16.h"
#include "kernels/attention/attention_kernels.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

class Attention : public ForEachIsa {};
INSTANTIATE_TEST_SUITE_P(Isas, Attention, supported_isas(), isa_name);

struct Options {
  AttentionShape shape;
  std::int64_t tokens;
  DType dtype = DType::f32;
};

const Options kOptions[] = {
    {{1, 1, 1}, 1},
    {{3, 3, 10}, 40},
    {{4, 2, 16}, 33, DType::f16},
    {{6, 2, 24}, 50, DType::i8},
    {{40, 1, 7}, 20},
    {{2, 1, 64}, 300, DType::i8},
    {{8, 4, 33}, 150, DType::f16},
    {{2, 2, 128}, 270},
};

/// Random queries, keys and values of a text, q, k and v of a head side by side, and its cache.
struct Text {
  explicit Text(const Options& o) : options(o), stride(3 * o.shape.heads * o.shape.head_dim + 5) {
    Rng rng(11);
    qkv = random_floats(rng, o.tokens * stride, 2.0);
    const auto rows = static_cast<std::size_t>(o.tokens);
    const auto row = static_cast<std::size_t>(o.shape.head_dim) * size_of(o.dtype);
    for (std::int64_t h = 0; h < 2 * o.shape.kv_heads; ++h) {
      memory.emplace_back(rows * row, std::byte{77});
      scales.emplace_back(rows, 77.0f);
    }
    for (std::size_t h = 0; h < memory.size(); h += 2) {
      cache.push_back(
          {memory[h].data(), memory[h + 1].data(), scales[h].data(), scales[h + 1].data()});
    }
  }

  HeadRows rows(std::int64_t from, std::int64_t part) {
    const std::int64_t dim = options.shape.head_dim;
    return {qkv.data() + from * stride + part * dim, stride, 3 * dim};
  }

  /// Appends and attends tokens [from, to) to y [tokens, heads * head_dim].
  void run(Isa isa, int threads, std::int64_t from, std::int64_t to, std::vector<float>& y) {
    TestContext test(isa, threads);
    const std::int64_t cols = options.shape.heads * options.shape.head_dim;
    const SequenceRun<const HeadCache*> one[] = {
        {{.end = to - from, .position = from}, cache.data()}};
    attention(test.ctx,
              {.shape = options.shape,
               .scale = 0.3f,
               .q = rows(from, 0),
               .k = rows(from, 1),
               .v = rows(from, 2),
               .k_dtype = options.dtype,
               .v_dtype = options.dtype},
              one, f32_activation(y.data() + from * cols, to - from, cols));
  }
  std::vector<float> all(Isa isa, int threads) {
    std::vector<float> y(
        static_cast<std::size_t>(options.tokens * options.shape.heads * options.shape.head_dim));
    run(isa, threads, 0, options.tokens, y);
    return y;
  }

  /// A row as the cache keeps it.
  std::vector<double> kept(const float* x) const {
    std::vector<double> row(x, x + options.shape.head_dim);
    float most = 0;
    for (std::int64_t i = 0; i < options.shape.head_dim; ++i) most = std::max(most, std::abs(x[i]));
    const float scale = most / 127;
    for (double& v : row) {
      const auto f = static_cast<float>(v);
      if (options.dtype == DType::f16) v = f16_to_f32(f32_to_f16(f));
      if (options.dtype == DType::i8) v = scale * std::nearbyint(f / scale);
    }
    return row;
  }

  Options options;
  std::int64_t stride;
  std::vector<float> qkv;
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::vector<float>> scales;
  std::vector<HeadCache> cache;
};

TEST_P(Attention, AgreesWithDoublePrecision) {
  for (const Options& options : kOptions) {
    Text text(options);
    const std::vector<float> y = text.all(GetParam(), 1);
    const auto [heads, kv_heads, dim] = options.shape;
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::int64_t kv = h / (heads / kv_heads);
      for (std::int64_t t = 0; t < options.tokens; ++t) {
        const float* q = text.rows(t, 0).at(0, h);
        double sum = 0;
        std::vector<double> o(static_cast<std::size_t>(dim));
        for (std::int64_t j = 0; j <= t; ++j) {
          const std::vector<double> k = text.kept(text.rows(j, 1).at(0, kv));
          const std::vector<double> v = text.kept(text.rows(j, 2).at(0, kv));
          double s = 0;
          for (std::size_t i = 0; i < k.size(); ++i) s += q[i] * k[i];
          const double p = std::exp(s * static_cast<double>(0.3f));
          sum += p;
          for (std::size_t i = 0; i < k.size(); ++i) o[i] += p * v[i];
        }
        for (std::int64_t i = 0; i < dim; ++i) {
          ASSERT_NEAR(y[static_cast<std::size_t>((t * heads + h) * dim + i)],
                      o[static_cast<std::size_t>(i)] / sum, 3e-5)
              << heads << " " << t;
        }
      }
    }
  }
}

TEST_P(Attention, SameBitsAsReferenceForAnyThreadsAndChunks) {
  for (const Options& options : kOptions) {
    Text reference(options);
    const std::vector<float> expected = reference.all(Isa::reference, 1);
    for (int threads : {1, 2, 5}) {
      Text text(options);
      ASSERT_TRUE(same_bits(text.all(GetParam(), threads), expected));
      ASSERT_EQ(text.memory, reference.memory);
      if (options.dtype == DType::i8) {
        ASSERT_EQ(text.scales, reference.scales);
      }
    }
    for (std::int64_t chunk : {1, 3, 17, 130}) {
      Text text(options);
      std::vector<float> y(expected.size());
      for (std::int64_t t = 0; t < options.tokens; t += chunk) {
        text.run(GetParam(), 2, t, std::min(t + chunk, options.tokens), y);
      }
      ASSERT_TRUE(same_bits(y, expected)) << "chunks of " << chunk;
      ASSERT_EQ(text.memory, reference.memory);
    }
  }
}

// As attention.h specifies it, in plain loops: the exponentials are those of the microkernel.
TEST_P(Attention, SumsRunInTheOrderThatIsSpecified) {
  const Options options{{1, 1, 21}, 70};
  Text text(options);
  const std::vector<float> y = text.all(GetParam(), 1);
  const auto tree = [](float(&lane)[16]) {
    for (int half : {8, 4, 2, 1}) {
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    return lane[0];
  };
  for (std::int64_t t = 0; t < options.tokens; ++t) {
    std::vector<float> p;
    for (std::int64_t j = 0; j <= t; ++j) {
      float lane[16] = {};
      for (int i = 0; i < 21; ++i) {
        lane[i % 16] = std::fma(text.rows(t, 0).data[i], text.rows(j, 1).data[i], lane[i % 16]);
      }
      p.push_back(tree(lane));
    }
    const float sum = microkernels(Isa::reference).attention->exponentials(p.data(), t + 1, 0.3f);
    for (int i = 0; i < 21; ++i) {
      float o = 0;
      for (std::int64_t j = 0; j <= t; ++j) {
        o = std::fma(p[static_cast<std::size_t>(j)], text.rows(j, 2).data[i], o);
      }
      ASSERT_EQ(y[static_cast<std::size_t>(t * 21 + i)], o / sum) << t << " " << i;
    }
  }
}

TEST_P(Attention, ExponentialsSumInSixteenLanesAndATree) {
  const AttentionKernels& kernels = *microkernels(GetParam()).attention;
  Rng rng(4);
  for (std::int64_t n : {1, 5, 8, 15, 16, 17, 40, 100, 333}) {
    const std::vector<float> x = random_floats(rng, n, 30.0);
    Guarded<float> s(x), same(x);
    const float sum = kernels.exponentials(s.data(), n, 0.4f);
    float most = x[0] * 0.4f, lane[16] = {};
    for (float v : x) most = std::max(most, v * 0.4f);
    for (std::int64_t j = 0; j < n; ++j) {
      const double exact =
          std::exp(static_cast<double>(x[static_cast<std::size_t>(j)] * 0.4f - most));
      EXPECT_NEAR(s[j], exact, 1e-6 * exact);
      lane[j % 16] += s[j];
    }
    for (int half : {8, 4, 2, 1}) {
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    EXPECT_EQ(sum, lane[0]);
    EXPECT_EQ(microkernels(Isa::reference).attention->exponentials(same.data(), n, 0.4f), sum);
  }
}

TEST_P(Attention, RotatesPairsByTheAngleOfThePosition) {
  const std::int64_t heads = 3, tokens = 40, half = 9, first = 1000, dim = 21;
  Rng rng(5);
  const std::vector<float> frequency = random_floats(rng, half, 0.01, 1.0);
  std::vector<float> cos(static_cast<std::size_t>(tokens * half)), sin(cos.size());
  const SequenceRows one[] = {{.end = tokens, .position = first}};
  TestContext angles(Isa::reference, 2);
  rotary_angles(angles.ctx, frequency, one, cos.data(), sin.data());
  const std::vector<float> x = random_floats(rng, tokens * heads * dim, 2.0);
  std::vector<std::vector<float>> results;
  for (const auto& [isa, threads] :
       {std::pair{Isa::reference, 1}, {GetParam(), 1}, {GetParam(), 3}}) {
    TestContext test(isa, threads);
    std::vector<float> y = x;
    rotary(test.ctx, cos.data(), sin.data(), half, {y.data(), heads * dim, dim}, tokens, heads);
    results.push_back(y);
  }
  EXPECT_TRUE(same_bits(results[1], results[0]));
  EXPECT_TRUE(same_bits(results[2], results[0]));
  for (std::int64_t row = 0; row < tokens * heads; ++row) {
    for (std::int64_t i = 0; i < dim; ++i) {
      const auto at = static_cast<std::size_t>(row * dim + i);
      if (i >= 2 * half) {
        EXPECT_EQ(results[0][at], x[at]);
        continue;
      }
      const std::int64_t pair = i % half;
      const double angle = static_cast<double>(static_cast<float>(first + row / heads) *
                                               frequency[static_cast<std::size_t>(pair)]);
      const double a = x[static_cast<std::size_t>(row * dim + pair)];
      const double b = x[static_cast<std::size_t>(row * dim + half + pair)];
      const double exact = i < half ? a * std::cos(angle) - b * std::sin(angle)
                                    : b * std::cos(angle) + a * std::sin(angle);
      EXPECT_NEAR(results[0][at], exact, 1e-6);
    }
  }
}

}  // namespace
}  // namespace krait
