#include "eval/site_errors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/test_support.h"
#include "kernels/hadamard/hadamard.h"
#include "quant/quantize_to_memory.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

Engine engine_of(const TestCheckpoint& checkpoint, const std::string& recipe, int threads = 2) {
  ThreadPool pool(1);
  QuantizedModel made =
      quantize_to_memory(checkpoint.config, *checkpoint.source(), load_recipe(recipe), pool);
  return make_engine({made.config, Json(), made.tensors, std::nullopt}, {.threads = threads});
}

const SiteError& site_of(const SiteErrors& errors, const std::string& role, int layer) {
  for (const SiteError& site : errors.sites) {
    if (site.role == role && site.layer == layer) return site;
  }
  throw std::runtime_error("no site " + role);
}

const ProductError& product_of(const SiteErrors& errors, const std::string& role, int layer) {
  for (const ProductError& product : errors.products) {
    if (product.role == role && product.layer == layer) return product;
  }
  throw std::runtime_error("no product " + role);
}

/// Values of every site of the last layer of one pass over the ids.
struct SiteValues final : Tap {
  std::vector<std::vector<float>> values;
  explicit SiteValues(const Model& model) : values(model.layout().activations.size()) {}
  void observe(int site, const Activation& value) override {
    if (value.dtype != DType::f32) return;
    auto& own = values[static_cast<std::size_t>(site)];
    for (std::int64_t r = 0; r < value.rows; ++r) {
      own.insert(own.end(), value.f32(r), value.f32(r) + value.cols);
    }
  }
};

std::vector<std::vector<float>> values_of(const Engine& engine, std::span<const std::int32_t> ids) {
  SiteValues tap(model_of(engine));
  SequenceState state = executor_of(engine).new_state();
  all_logits(engine, ids, state, &tap);
  return tap.values;
}

TEST(SiteErrors, AModelHasNoneAgainstItself) {
  const TestCheckpoint checkpoint = tiny_mamba();
  const Engine engine = engine_of(checkpoint, "f32");
  const SiteErrors errors = site_errors(engine, engine, {}, random_ids(1, 50, 61), 20);
  EXPECT_EQ(errors.sites.size(), model_of(engine).layout().activations.size());
  EXPECT_EQ(errors.products.size(), model_of(engine).layout().linears.size() - 1);
  for (const SiteError& site : errors.sites) EXPECT_EQ(site.error, 0) << site.name;
  for (const ProductError& product : errors.products) EXPECT_EQ(product.error, 0) << product.name;
}

TEST(SiteErrors, ErrorsAndRangesAreThoseOfThePlainSums) {
  const TestCheckpoint checkpoint = tiny_mamba();
  const Engine reference = engine_of(checkpoint, "f32"), model = engine_of(checkpoint, "bf16", 1);
  const std::vector<std::int32_t> ids = random_ids(1, 30, 61);
  const SiteErrors errors = site_errors(reference, model, {}, ids, 30);
  const auto f = values_of(reference, ids), q = values_of(model, ids);
  const ModelLayout& layout = model_of(reference).layout();
  for (std::size_t i = 0; i < f.size(); ++i) {
    double error = 0, energy = 0, most = 0, mean = 0, fourth = 0, variance = 0;
    std::vector<double> channels(static_cast<std::size_t>(layout.activations[i].channels));
    for (std::size_t k = 0; k < f[i].size(); ++k) {
      const double x = f[i][k];
      error += (q[i][k] - x) * (q[i][k] - x);
      energy += x * x;
      most = std::max(most, std::abs(x));
      mean += x / static_cast<double>(f[i].size());
      channels[k % channels.size()] += x * x;
    }
    for (const double x : f[i]) {
      variance += (x - mean) * (x - mean) / static_cast<double>(f[i].size());
      fourth += std::pow(x - mean, 4) / static_cast<double>(f[i].size());
    }
    const SiteError& site = errors.sites[i];
    EXPECT_NEAR(site.error / (error / energy), 1, 1e-6) << site.name;
    EXPECT_NEAR(site.before.absmax, most, 1e-12);
    EXPECT_NEAR(site.before.rms, std::sqrt(energy / static_cast<double>(f[i].size())), 1e-9);
    EXPECT_NEAR(site.before.kurtosis, fourth / (variance * variance), 1e-6);
    EXPECT_NEAR(site.before.top_channel,
                *std::max_element(channels.begin(), channels.end()) /
                    (energy / static_cast<double>(channels.size())),
                1e-9);
  }
  EXPECT_GT(product_of(errors, "out_proj", 0).error, 1e-8);
  EXPECT_LT(product_of(errors, "out_proj", 0).error, 1e-3);
}

TEST(SiteErrors, RotatedSitesAreComparedWithoutTheirTransform) {
  const TestCheckpoint checkpoint = tiny_mamba({.D = 24, .E = 48});
  const Engine reference = engine_of(checkpoint, "f32"),
               model = engine_of(checkpoint, "krait-w8a8");
  const SiteErrors errors = site_errors(reference, model, {}, random_ids(1, 60, 61), 32);
  for (const SiteError& site : errors.sites) EXPECT_LT(site.error, 0.01) << site.name;
  for (const ProductError& product : errors.products) {
    EXPECT_GT(product.error, 1e-7) << product.name;
    EXPECT_LT(product.error, 0.01) << product.name;
  }
  const SiteError& rotated = site_of(errors, "out_proj.input", 1);
  EXPECT_NEAR(rotated.before.rms, rotated.after.rms, 0.01 * rotated.before.rms);
  EXPECT_NE(rotated.before.absmax, rotated.after.absmax);
}

TEST(SiteErrors, SmoothedChannelsGetTheirFactorsBack) {
  const TestCheckpoint checkpoint = tiny_mamba();
  const Engine reference = engine_of(checkpoint, "f32");
  // Folding a factor from the norm into the next weights changes nothing but this site.
  TestCheckpoint folded = checkpoint;
  float* norm = folded.tensors.at("backbone.layers.0.norm.weight").mutable_as<float>().data();
  float* weight =
      folded.tensors.at("backbone.layers.0.mixer.in_proj.weight").mutable_as<float>().data();
  for (int c = 0; c < 20; ++c) {
    const float factor = c % 2 == 0 ? 4 : 0.5f;
    norm[c] *= factor;
    for (int r = 0; r < 72; ++r) weight[r * 20 + c] /= factor;
  }
  const Engine model = engine_of(folded, "f32");
  const std::vector<std::int32_t> ids = random_ids(1, 40, 61);
  const SiteErrors plain = site_errors(reference, model, {}, ids, 40);
  EXPECT_GT(site_of(plain, "in_proj.input", 0).error, 1);
  EXPECT_LT(product_of(plain, "in_proj", 0).error, 1e-10);
  const SiteErrors scaled = site_errors(reference, model, {.smoothed = {"in_proj.input"}}, ids, 40);
  EXPECT_LT(site_of(scaled, "in_proj.input", 0).error, 1e-10);
  EXPECT_GT(site_of(scaled, "in_proj.input", 0).after.absmax,
            site_of(scaled, "in_proj.input", 0).before.absmax);
}

TEST(SiteErrors, WhatChangedPlacesIsUnknown) {
  const TestCheckpoint checkpoint = tiny_mamba2();
  const Engine reference = engine_of(checkpoint, "f32");
  const SiteErrors errors = site_errors(reference, reference, {.smoothed = {}, .reordered = true},
                                        random_ids(1, 40, 61), 40);
  EXPECT_EQ(site_of(errors, "in_proj.input", 1).error, 0);
  EXPECT_TRUE(std::isnan(site_of(errors, "x", 1).error));
  EXPECT_TRUE(std::isnan(product_of(errors, "in_proj", 1).error));
  EXPECT_EQ(product_of(errors, "out_proj", 1).error, 0);
}

TEST(SiteErrors, TransformsAreReadFromTheRecipe) {
  const Json config = {{"quantization_config",
                        {{"krait",
                          {{"recipe",
                            {{"steps",
                              {{{"name", "smooth"}, {"site", "in_proj.input"}},
                               {{"name", "cluster"}, {"site", "x"}},
                               {{"name", "rtn"}}}}}}}}}}};
  const ChannelTransforms transforms = channel_transforms(config);
  EXPECT_TRUE(transforms.reordered);
  EXPECT_EQ(transforms.smoothed, std::set<std::string>{"in_proj.input"});
  EXPECT_FALSE(channel_transforms(Json::object()).reordered);
}

TEST(SiteErrors, RefusesOtherModels) {
  const Engine one = engine_of(tiny_mamba(), "f32"), other = engine_of(tiny_mamba2(), "f32");
  expect_error([&] { site_errors(one, other, {}, random_ids(1, 40, 61)); },
               ErrorCode::invalid_argument, {"different layers and sites"});
  expect_error(
      [&] {
        site_errors(one, one, {}, std::vector<std::int32_t>{1, 99});
      },
      ErrorCode::invalid_argument, {"token id 99"});
}

}  // namespace
}  // namespace krait
