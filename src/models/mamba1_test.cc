// The forward pass against an independent one, written from the paper's recurrence.
#include <gtest/gtest.h>

#include "models/test_naive.h"

namespace krait {
namespace {

class NaiveMamba final : public NaiveModel {
 public:
  NaiveMamba(const TestCheckpoint& checkpoint, const TinyMamba& sizes)
      : NaiveModel(checkpoint, sizes.layers), m_(sizes) {}

 private:
  Vector mixer(const std::string& mixer, const Vector& hidden) override {
    const std::size_t E = size(m_.E), N = size(m_.N), R = size(m_.R);
    Vector& state = states_[mixer];
    state.resize(E * N);
    const Vector xz = multiply(mixer + "in_proj", hidden);
    const auto half = xz.begin() + static_cast<std::ptrdiff_t>(E);
    const Vector x = rounded(mixer, "conv1d.input", Vector(xz.begin(), half));
    const Vector z = rounded(mixer, "z", Vector(half, xz.end()));
    Vector u = convolve(mixer, x), y(E);
    // A scale per token is for the product alone; the scan then reads what the convolution made.
    const Vector u_product = rounded(mixer, "x_proj.input", u);
    const bool per_token = activations_.contains("x_proj.input") &&
                           activations_.at("x_proj.input").at("strategy") == "token";
    if (!per_token) u = u_product;
    const Vector dt_B_C = multiply(mixer + "x_proj", u_product);
    const auto at = [&](std::size_t i) { return dt_B_C.begin() + static_cast<std::ptrdiff_t>(i); };
    const Vector dt_low = rounded(mixer, "dt_proj.input", Vector(at(0), at(R)));
    const Vector B = rounded(mixer, "B", Vector(at(R), at(R + N)));
    const Vector C = rounded(mixer, "C", Vector(at(R + N), at(R + 2 * N)));
    const Vector dt = rounded(mixer, "dt_proj.output", multiply(mixer + "dt_proj", dt_low));
    for (std::size_t e = 0; e < E; ++e) {
      const double delta = std::log1p(std::exp(dt[e] + tensors_.at(mixer + "dt_proj.bias")[e]));
      for (std::size_t n = 0; n < N; ++n) {
        const double A = -std::exp(tensors_.at(mixer + "A_log")[e * N + n]);
        double& h = state[e * N + n];
        h = std::exp(delta * A) * h + delta * B[n] * u[e];
        y[e] += C[n] * h;
        h = rounded_state(h);
      }
      y[e] = (y[e] + tensors_.at(mixer + "D")[e] * u[e]) * silu(z[e]);
    }
    return multiply(mixer + "out_proj", rounded(mixer, "out_proj.input", y));
  }

  TinyMamba m_;
};

const TinyMamba kShapes[] = {
    {},
    {.V = 17, .D = 16, .E = 64, .N = 16, .K = 4, .R = 1, .layers = 3, .tied = false, .seed = 2},
    {.V = 130,
     .D = 33,
     .E = 47,
     .N = 3,
     .K = 2,
     .R = 7,
     .layers = 1,
     .linear_bias = true,
     .seed = 3},
    {.V = 5, .D = 1, .E = 1, .N = 1, .K = 1, .R = 1, .layers = 1, .conv_bias = false, .seed = 4},
    {.D = 40, .E = 80, .dtype = DType::bf16, .seed = 5},
    {.D = 40, .E = 80, .dtype = DType::f16, .seed = 6},
};

TEST(Mamba1, AgreesWithTheRecurrenceInDoublePrecision) {
  for (const TinyMamba& sizes : kShapes) {
    const TestCheckpoint checkpoint = tiny_mamba(sizes);
    const auto ids = random_ids(9, 50, sizes.V);
    const Vector expected = NaiveMamba(checkpoint, sizes).logits(ids);
    const double allowed = 1e-4 * deviation(expected) + 1e-6;
    EXPECT_LE(max_difference(run(checkpoint, ids), expected), allowed) << "seed " << sizes.seed;
  }
}

TEST(Mamba1, RotatedWeightsAndInputAreTheSameFunction) {
  const TinyMamba sizes{.E = 48};
  const TestCheckpoint checkpoint = tiny_mamba(sizes);
  const auto ids = random_ids(9, 30, sizes.V);
  const Vector expected = NaiveMamba(checkpoint, sizes).logits(ids);
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  const TestCheckpoint rotated = rotate_by_hand(checkpoint, layout);
  EXPECT_LE(max_difference(run(rotated, ids), expected), 1e-4 * deviation(expected));
}

// A value on the border of two grid points may be rounded to either, which is why this is not
// exact; a scale or a site mixed up is an error of 0.1 and more.
TEST(Mamba1, Int8IsTheFloatModelRoundedAtItsSites) {
  const TinyMamba sizes{.D = 48, .E = 96, .N = 16, .R = 3};
  const TestCheckpoint checkpoint = tiny_mamba(sizes);
  const auto ids = random_ids(9, 60, sizes.V);
  for (const HandScheme scheme : {HandScheme::static_tensor, HandScheme::dynamic_token}) {
    const TestCheckpoint quantized = quantize_by_hand(checkpoint, scheme, ids);
    const Vector expected = NaiveMamba(quantized, sizes).logits(ids);
    EXPECT_LT(relative_error(run(quantized, ids), expected), 0.01) << name_of(scheme);
  }
}

TEST(Mamba1, Int8StaysNearTheFloatModel) {
  const TinyMamba sizes{.D = 48, .E = 96, .N = 16, .R = 3};
  const TestCheckpoint checkpoint = tiny_mamba(sizes);
  const auto ids = random_ids(9, 60, sizes.V);
  const Vector expected = NaiveMamba(checkpoint, sizes).logits(ids);
  const auto error = [&](HandScheme scheme) {
    return relative_error(run(quantize_by_hand(checkpoint, scheme, ids, true), ids), expected);
  };
  EXPECT_LT(error(HandScheme::dynamic_token), 0.05);
  EXPECT_LT(error(HandScheme::dynamic_tensor), 0.15);
  EXPECT_LT(error(HandScheme::static_tensor), 0.15);
}

TEST(Mamba1, CountsTheBytesThatADecodeStepReads) {
  const TinyMamba sizes;
  TestRuntime runtime;
  const TestCheckpoint checkpoint = tiny_mamba(sizes);
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  EXPECT_EQ(model->weight_bytes(), static_cast<std::size_t>(model->info().parameters) * 4);
}

// A table that is packed for the head is still read row by row, whoever owns its memory.
TEST(Mamba1, LargeInt8TablesInMemoryStayReadable) {
  const TinyMamba sizes{.V = 30000, .D = 40, .layers = 1};
  const auto ids = random_ids(9, 20, sizes.V);
  const TestCheckpoint quantized =
      quantize_by_hand(tiny_mamba(sizes), HandScheme::dynamic_token, ids);
  const Vector expected = NaiveMamba(quantized, sizes).logits(ids);
  EXPECT_LT(relative_error(run(quantized, ids), expected), 0.01);
}

TEST(Mamba1, ShowsEverySiteToATap) { expect_every_site_is_shown(tiny_mamba(), 5); }

}  // namespace
}  // namespace krait
