// The forward pass against an independent one: scalar code in double precision, written from the
// paper's recurrence, token by token.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/test_int8.h"
#include "models/test_support.h"

namespace krait {
namespace {

using Vector = std::vector<double>;

/// The model as nested loops over its tensors. int8 tensors are widened, and at every site that the
/// config quantizes the value is rounded to its grid: the arithmetic that integer kernels stand
/// for.
class NaiveMamba {
 public:
  NaiveMamba(const TestCheckpoint& checkpoint, const TinyMamba& sizes)
      : m_(sizes), eps_(checkpoint.config.at("layer_norm_epsilon").get<double>()) {
    for (const auto& [name, tensor] : checkpoint.tensors) {
      if (tensor.dtype() == DType::i8) {
        const auto scale = checkpoint.tensors.at(name + "_scale").as<float>();
        const std::size_t per_scale = tensor.as<std::int8_t>().size() / scale.size();
        for (const std::int8_t q : tensor.as<std::int8_t>()) {
          Vector& values = tensors_[name];
          values.push_back(q * static_cast<double>(scale[values.size() / per_scale]));
        }
      } else {
        const Tensor values = to_f32(tensor.view());
        tensors_[name].assign(values.as<float>().begin(), values.as<float>().end());
      }
    }
    activations_ = checkpoint.config.value("/quantization_config/krait/activations"_json_pointer,
                                           Json::object());
  }

  Vector logits(std::span<const std::int32_t> ids) const {
    Vector result;
    std::vector<Vector> windows(size(m_.layers), Vector(size(m_.E * m_.K)));  // last K inputs
    std::vector<Vector> states(size(m_.layers), Vector(size(m_.E * m_.N)));
    for (const std::int32_t id : ids) {
      const Vector& table = tensors_.at("backbone.embeddings.weight");
      Vector residual(table.begin() + id * m_.D, table.begin() + (id + 1) * m_.D);
      for (std::int64_t i = 0; i < m_.layers; ++i) {
        const std::string block = "backbone.layers." + std::to_string(i) + ".";
        const std::string prefix = block + "mixer.";
        const Vector hidden =
            rounded(prefix, "in_proj.input", norm(residual, block + "norm.weight"));
        const Vector out = mixer(prefix, hidden, windows[size(i)], states[size(i)]);
        for (std::size_t d = 0; d < residual.size(); ++d) residual[d] += out[d];
      }
      const Vector last =
          multiply(m_.tied ? "backbone.embeddings" : "lm_head",
                   rounded("", "lm_head.input", norm(residual, "backbone.norm_f.weight")));
      result.insert(result.end(), last.begin(), last.end());
    }
    return result;
  }

 private:
  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

  Vector norm(const Vector& x, const std::string& weight) const {
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps_);
    Vector y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * tensors_.at(weight)[i];
    return y;
  }

  Vector multiply(const std::string& name, const Vector& x) const {
    const Vector& weight = tensors_.at(name + ".weight");
    Vector y(weight.size() / x.size());
    const auto bias = tensors_.find(name + ".bias");
    for (std::size_t r = 0; r < y.size(); ++r) {
      for (std::size_t c = 0; c < x.size(); ++c) y[r] += weight[r * x.size() + c] * x[c];
      if (bias != tensors_.end() && !name.ends_with("dt_proj")) y[r] += bias->second[r];
    }
    return y;
  }

  /// The value as the site's numerics keep it.
  Vector rounded(const std::string& prefix, const std::string& role, Vector x) const {
    if (!activations_.contains(role)) return x;
    double scale = 0;
    if (activations_.at(role).value("dynamic", false)) {
      for (const double v : x) scale = std::max(scale, std::abs(v) / 127);
    } else {
      scale = tensors_.at(prefix + role + "_scale").at(0);
    }
    for (double& v : x) v = scale * std::clamp(std::nearbyint(v / scale), -128.0, 127.0);
    return x;
  }

  double rounded_state(double h) const {
    return activations_.contains("ssm_state")
               ? static_cast<double>(f16_to_f32(f32_to_f16(static_cast<float>(h))))
               : h;
  }

  static double silu(double v) { return v / (1 + std::exp(-v)); }

  Vector mixer(const std::string& mixer, const Vector& hidden, Vector& window,
               Vector& state) const {
    const std::size_t E = size(m_.E), N = size(m_.N), K = size(m_.K), R = size(m_.R);
    const Vector xz = multiply(mixer + "in_proj", hidden);
    const auto half = xz.begin() + static_cast<std::ptrdiff_t>(E);
    const Vector x = rounded(mixer, "conv1d.input", Vector(xz.begin(), half));
    const Vector z = rounded(mixer, "z", Vector(half, xz.end()));
    Vector u(E), y(E);
    for (std::size_t e = 0; e < E; ++e) {
      double* w = &window[e * K];
      std::rotate(w, w + 1, w + K);
      w[K - 1] = x[e];
      double sum = m_.conv_bias ? tensors_.at(mixer + "conv1d.bias")[e] : 0;
      for (std::size_t k = 0; k < K; ++k) {
        sum += tensors_.at(mixer + "conv1d.weight")[e * K + k] * w[k];
      }
      u[e] = silu(sum);
    }
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
  double eps_;
  std::map<std::string, Vector> tensors_;
  Json activations_;
};

double deviation(const Vector& values) {
  double sum = 0, squares = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / n - sum / n * (sum / n));
}

double max_difference(const std::vector<float>& got, const Vector& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double most = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(got[i]) - expected[i]));
  }
  return most;
}

std::vector<float> run(const TestCheckpoint& checkpoint, std::span<const std::int32_t> ids) {
  TestRuntime runtime(select_isa());
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  SequenceState state(model->state_layout());
  std::vector<float> logits = all_logits(runtime.ctx, *model, ids, state);
  EXPECT_EQ(state.position(), static_cast<std::int64_t>(ids.size()));
  return logits;
}

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

/// Root mean square of the difference, in standard deviations of the expected values.
double relative_error(const std::vector<float>& got, const Vector& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) squares += std::pow(got[i] - expected[i], 2);
  return std::sqrt(squares / static_cast<double>(got.size())) / deviation(expected);
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

/// Sites seen, with their widths.
struct CountingTap : Tap {
  void observe(int site, const Activation& value) override { seen[site].push_back(value); }
  std::map<int, std::vector<Activation>> seen;
};

TEST(Mamba1, ShowsEverySiteToATap) {
  TestRuntime runtime;
  const TestCheckpoint checkpoint = tiny_mamba();
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
  CountingTap tap;
  runtime.ctx.tap = &tap;
  const auto ids = random_ids(9, 12, 61);
  SequenceState a(model->state_layout()), b(model->state_layout());
  const std::int32_t cu_seqlens[] = {0, 5, 12};
  SequenceState* states[] = {&a, &b};
  model->forward(runtime.ctx, {ids, cu_seqlens, states}, LogitRows::none, nullptr);
  const auto& sites = model->layout().activations;
  ASSERT_EQ(tap.seen.size(), sites.size());
  for (const auto& [index, values] : tap.seen) {
    const ActivationSite& site = sites[static_cast<std::size_t>(index)];
    EXPECT_EQ(values.size(), site.is_state ? 2u : 1u) << site.name;
    EXPECT_EQ(values.front().rows, site.is_state ? 5 : 12) << site.name;
    EXPECT_EQ(values.front().cols, site.channels) << site.name;
  }
}

}  // namespace
}  // namespace krait
