// What every recipe makes of a model, run by the engine: the same logits to the bit on every
// instruction set, for any number of threads and any cuts of the prompt.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/test_support.h"
#include "krait/error.h"
#include "krait/quantize.h"
#include "models/test_attention.h"
#include "quant/quantize_to_memory.h"
#include "quant/test_support.h"

namespace krait {
namespace {

const TinyMamba kShape{.V = 61, .D = 24, .E = 40, .N = 16, .R = 3};
const TinyMamba2 kShape2{.V = 61, .D = 24, .H = 10, .P = 4, .G = 2, .N = 16};
const TinyJamba kJamba{.V = kShape.V, .D = 40, .heads = 4, .F = 48};
const TinyNeox kNeox{.V = kShape.V, .D = 40, .heads = 4, .F = 56};

QuantizedModel quantized(const Recipe& recipe,
                         const TestCheckpoint& checkpoint = tiny_mamba(kShape)) {
  ThreadPool threads(1);
  return quantize_to_memory(checkpoint.config, *checkpoint.source(), recipe, threads);
}

LoadOptions load_options;  // of logits_of()

std::vector<float> logits_of(const QuantizedModel& made, std::span<const std::int32_t> ids, Isa isa,
                             int threads, std::size_t chunk) {
  TestRuntime runtime(isa, threads);
  const auto model = load_model(runtime.ctx, made.config, *made.tensors, load_options);
  SequenceState state(model->state_layout());
  std::vector<float> logits;
  for (std::size_t begin = 0; begin < ids.size(); begin += chunk) {
    const auto part = ids.subspan(begin, std::min(chunk, ids.size() - begin));
    const std::vector<float> rows = all_logits(runtime.ctx, *model, part, state);
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Methods for what only state-space models have, or only Mamba-2.
bool is_for_other_families(const std::string& recipe, const std::string& family) {
  if (recipe == "krait-w8a8-s8") return family == "mamba" || family == "jamba";
  return family == "neox" && (recipe.starts_with("quamba") || recipe.starts_with("hadamard") ||
                              recipe.starts_with("percentile") || recipe.starts_with("jamba"));
}

/// The largest difference of logits, in units of their root mean square.
double difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double squares = 0, largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    squares += static_cast<double>(expected[i]) * expected[i];
    largest = std::max(largest, std::fabs(static_cast<double>(got[i]) - expected[i]));
  }
  return largest / std::sqrt(squares / static_cast<double>(expected.size()));
}

/// The same logits on every instruction set, for any number of threads and, unless scales span the
/// tensor, any calls.
void expect_same_bits(const QuantizedModel& made, bool any_cut) {
  const std::vector<std::int32_t> ids = random_ids(5, 29, kShape.V);
  const std::vector<float> expected = logits_of(made, ids, Isa::reference, 1, ids.size());
  for (float x : expected) ASSERT_TRUE(std::isfinite(x));
  for (Isa isa : all_isas()) {
    if (!cpu_supports(isa)) continue;
    for (int threads : {1, 2, 5}) {
      EXPECT_TRUE(same_bytes(logits_of(made, ids, isa, threads, ids.size()), expected))
          << name_of(isa) << ", " << threads << " threads";
      for (std::size_t cut : {1, 3, 16}) {
        if (!any_cut) continue;
        EXPECT_TRUE(same_bytes(logits_of(made, ids, isa, threads, cut), expected))
            << name_of(isa) << ", " << threads << " threads, calls of " << cut;
      }
    }
  }
}

/// A recipe and a kind of model.
class EveryRecipe : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  const std::string& recipe() const { return std::get<0>(GetParam()); }
  const std::string& family() const { return std::get<1>(GetParam()); }
  TestCheckpoint checkpoint() const {
    if (has_coded_table()) {  // words are 16 columns wide
      if (family() == "neox") return tiny_neox({.V = kShape.V, .D = 64, .heads = 4, .F = 112});
      if (family() == "jamba") return tiny_jamba({.V = kShape.V, .D = 48, .heads = 4, .F = 80});
      return family() == "mamba2"
                 ? tiny_mamba2({.V = kShape.V, .D = 32, .H = 20, .P = 4, .G = 2, .N = 16})
                 : tiny_mamba({.V = kShape.V, .D = 32, .E = 80, .N = 16, .R = 3});
    }
    if (family() == "neox") return tiny_neox(kNeox);
    if (family() == "jamba") return tiny_jamba(kJamba);
    return family() == "mamba2" ? tiny_mamba2(kShape2) : tiny_mamba(kShape);
  }
  bool has_coded_table() const {
    const Recipe read = load_recipe(recipe());
    const auto rule = read.weights.find("table");
    return rule != read.weights.end() && rule->second.quantized && rule->second.args.bits < 8;
  }
};

TEST_P(EveryRecipe, GivesTheSameBitsOnEveryMachine) {
  if (is_for_other_families(recipe(), family())) {
    expect_error([&] { quantized(load_recipe(recipe()), checkpoint()); },
                 ErrorCode::invalid_argument,
                 {recipe(), family() == "neox" ? "is not for GPTNeoXForCausalLM" : "of Mamba-2"});
    return;
  }
  expect_same_bits(quantized(load_recipe(recipe()), checkpoint()), recipe() != "dynamic-w8a8");
}

INSTANTIATE_TEST_SUITE_P(Shipped, EveryRecipe,
                         testing::Combine(testing::ValuesIn(recipe_names()),
                                          testing::Values("mamba", "mamba2", "neox", "jamba")),
                         [](const auto& test) {
                           std::string name =
                               std::get<1>(test.param) + "_" + std::get<0>(test.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

Recipe rotation_only(const Json& block) {
  return parse_recipe(
      {{"name", "rotated"},
       {"steps", {{{"name", "rotate"}, {"site", "out_proj.input"}, {"block", block}}}}},
      "test");
}

TEST(Rotation, IsExactInFloat) {
  for (const std::int64_t E : {40, 48, 64, 28, 36, 13}) {
    TinyMamba shape = kShape;
    shape.E = E;
    const TestCheckpoint checkpoint = tiny_mamba(shape);
    const std::vector<std::int32_t> ids = random_ids(6, 40, shape.V);
    const QuantizedModel plain{checkpoint.config, checkpoint.source()};
    const QuantizedModel rotated = quantized(rotation_only("largest"), checkpoint);
    const std::vector<float> expected = logits_of(plain, ids, select_isa(), 1, ids.size());
    const std::vector<float> got = logits_of(rotated, ids, select_isa(), 1, ids.size());
    EXPECT_LT(difference(got, expected), 1e-5) << E;
    EXPECT_EQ(same_bytes(got, expected), E == 13) << E;  // 13: only the identity divides it
  }
}

/// The same of a changed model and its checkpoint.
double difference(const TestCheckpoint& checkpoint, const QuantizedModel& changed) {
  const std::vector<std::int32_t> ids = random_ids(6, 40, kShape.V);
  const QuantizedModel plain{checkpoint.config, checkpoint.source()};
  return difference(logits_of(changed, ids, select_isa(), 1, ids.size()),
                    logits_of(plain, ids, select_isa(), 1, ids.size()));
}

/// Every site of a model that can be, by the step of that name.
Recipe everywhere(const std::string& step, const ModelLayout& layout) {
  Json steps = Json::array();
  std::vector<std::string> done;
  for (const ActivationSite& site : layout.activations) {
    const bool can = step == "rotate" ? site.rotatable : !site.norm.empty();
    // The router and the experts have one norm: the one is named, the other follows.
    if (!can || (step == "smooth" && site.role == "router.input")) continue;
    if (std::find(done.begin(), done.end(), site.role) != done.end()) continue;
    done.push_back(site.role);
    steps.push_back({{"name", step}, {"site", site.role}});
    if (step == "rotate") steps.back()["block"] = "largest";
  }
  if (step == "smooth") steps.push_back({{"name", "calibrate"}});
  return parse_recipe({{"name", step}, {"steps", steps}}, "test");
}

TEST(Transforms, AreExactInFloatWhereverTheyAreAllowed) {
  TinyMamba2 untied = kShape2;
  untied.tied = false;
  for (const TestCheckpoint& checkpoint :
       {tiny_mamba(kShape), tiny_mamba2(kShape2), tiny_mamba2(untied), tiny_neox(kNeox),
        tiny_jamba(kJamba)}) {
    const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
    for (const char* step : {"rotate", "smooth"}) {
      const QuantizedModel changed = quantized(everywhere(step, layout), checkpoint);
      const double largest = difference(checkpoint, changed);
      // A tied head can be rotated with the table, but not smoothed with it.
      const std::string head = layout.linears.back().name + ".weight";
      const bool was_tied = !layout.linears.back().tied_to.empty();
      EXPECT_EQ(changed.tensors->contains(head), !was_tied || step == std::string("smooth"));
      EXPECT_LT(largest, 2e-5) << step << " in " << layout.info.architecture;
      EXPECT_GT(largest, 0) << step << " in " << layout.info.architecture;
    }
  }
}

/// B and C rotated, the state in int8 with a scale for each row of states.
Json rotated_state() {
  const Json rule = {{"bits", 8}, {"strategy", "channel"}, {"dynamic", true}};
  return {{"name", "test"},
          {"activations", {{"ssm_state", rule}}},
          {"steps",
           {{{"name", "rotate"}, {"site", "B"}, {"block", "largest"}},
            {{"name", "rotate"}, {"site", "C"}, {"block", "largest"}}}}};
}

TEST(Rotation, OfBAndCSpreadsAnOutlierOfTheState) {
  TestCheckpoint checkpoint = tiny_mamba2(kShape2);
  const std::int64_t B = kShape2.E(), C = B + kShape2.G * kShape2.N, K = kShape2.K;
  for (std::int64_t i = 0; i < kShape2.layers; ++i) {
    const std::string mixer = "backbone.layers." + std::to_string(i) + ".mixer.";
    const std::span<float> conv = checkpoint.tensors[mixer + "conv1d.weight"].mutable_as<float>();
    const std::span<float> bias = checkpoint.tensors[mixer + "conv1d.bias"].mutable_as<float>();
    for (const std::int64_t channel : {B, B + kShape2.N}) {
      for (auto& w : conv.subspan(static_cast<std::size_t>(channel * K), K)) w *= 30;
      bias[static_cast<std::size_t>(channel)] = 30;
      for (auto& w : conv.subspan(static_cast<std::size_t>((channel - B + C) * K), K)) w /= 30;
    }
  }
  Json plain = rotated_state();
  plain.erase("steps");
  const double without = difference(checkpoint, quantized(parse_recipe(plain, "test"), checkpoint));
  const double with =
      difference(checkpoint, quantized(parse_recipe(rotated_state(), "test"), checkpoint));
  EXPECT_LT(with, 0.5 * without);
}

TEST(Rotation, OfBAndCIsRefusedWhereItIsNotTheSameFunction) {
  const auto refusal = [](const Json& recipe, const TestCheckpoint& checkpoint) {
    try {
      quantized(parse_recipe(recipe, "test"), checkpoint);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const TestCheckpoint mamba2 = tiny_mamba2(kShape2);
  Json lonely = rotated_state();
  lonely["steps"].erase(1);
  EXPECT_EQ(refusal(lonely, mamba2),
            "recipe test: B and C must be rotated alike, got blocks of 16 and 1");
  Json wide = rotated_state();
  for (Json& step : wide["steps"]) step["block"] = 32;  // two groups of 16
  EXPECT_NE(refusal(wide, mamba2).find("blocks of 32"), std::string::npos) << refusal(wide, mamba2);
  Json fixed = rotated_state();
  fixed["activations"]["ssm_state"] = {{"bits", 8}, {"strategy", "group"}, {"dynamic", false}};
  fixed["steps"].push_back({{"name", "calibrate"}});
  EXPECT_NE(refusal(fixed, mamba2).find("static scales cannot be rotated"), std::string::npos)
      << refusal(fixed, mamba2);
  Json only_rotated = rotated_state();
  only_rotated.erase("activations");
  const std::string other = refusal(only_rotated, tiny_mamba(kShape));
  EXPECT_NE(other.find("cannot be rotated"), std::string::npos) << other;

  // and in a checkpoint
  TestCheckpoint made = mamba2;
  made.config = quantized(parse_recipe(rotated_state(), "test"), mamba2).config;
  Json& activations = made.config["quantization_config"]["krait"]["activations"];
  const auto load = [&] {
    TestRuntime runtime;
    load_model(runtime.ctx, made.config, *made.source());
  };
  EXPECT_NO_THROW(load());
  activations["B"]["hadamard_block"] = 8;
  EXPECT_THROW(load(), Error);
}

TEST(Rotation, ShowsTheStateAsItWouldBeWithout) {
  const TestCheckpoint checkpoint = tiny_mamba2(kShape2);
  Json recipe = rotated_state();
  recipe.erase("activations");
  const QuantizedModel rotated = quantized(parse_recipe(recipe, "test"), checkpoint);
  struct States : Tap {
    std::vector<float> seen;
    int site = -1;
    void observe(int which, const Activation& value) override {
      if (which != site) return;
      for (std::int64_t r = 0; r < value.rows; ++r) {
        seen.insert(seen.end(), value.f32(r), value.f32(r) + value.cols);
      }
    }
  };
  const auto states = [&](const QuantizedModel& model) {
    TestRuntime runtime;
    const auto loaded = load_model(runtime.ctx, model.config, *model.tensors);
    States tap;
    for (std::size_t i = 0; i < loaded->layout().activations.size(); ++i) {
      if (tap.site < 0 && loaded->layout().activations[i].is_state) tap.site = static_cast<int>(i);
    }
    runtime.ctx.tap = &tap;
    SequenceState state(loaded->state_layout());
    all_logits(runtime.ctx, *loaded, random_ids(6, 20, kShape2.V), state);
    return tap.seen;
  };
  const std::vector<float> expected = states({checkpoint.config, checkpoint.source()});
  EXPECT_LT(difference(states(rotated), expected), 1e-5);
  ASSERT_FALSE(expected.empty());
}

/// llmint8-w8a8 with another threshold; 0 splits nothing.
Recipe outliers_above(double threshold) {
  Json json = load_recipe("llmint8-w8a8").source;
  for (auto& [role, rule] : json["activations"].items()) rule["outlier_threshold"] = threshold;
  return parse_recipe(json, "test");
}

TEST(MappedExperts, GiveTheBitsOfPackedOnes) {
  for (const char* recipe : {"krait-w8a8", "krait-w4a8-h8", "krait-w4a16", "llmint8-w8a8"}) {
    const QuantizedModel made = quantized(load_recipe(recipe), tiny_jamba(kJamba));
    const std::vector<std::int32_t> ids = random_ids(9, 33, kShape.V);
    load_options.packs_experts = true;
    const std::vector<float> packed = logits_of(made, ids, Isa::reference, 1, ids.size());
    load_options.packs_experts = false;
    expect_same_bits(made, true);
    EXPECT_TRUE(same_bytes(logits_of(made, ids, select_isa(), 2, 7), packed)) << recipe;
  }
  load_options = {};
}

// The values of these models are below 6: here a third of them are outliers.
TEST(OutlierSplit, GivesTheSameBitsOnEveryMachine) {
  for (const TestCheckpoint& checkpoint :
       {tiny_mamba(kShape), tiny_mamba2(kShape2), tiny_neox(kNeox), tiny_jamba(kJamba)}) {
    expect_same_bits(quantized(outliers_above(1), checkpoint), true);
  }
}

TEST(OutlierSplit, KeepsWhatOneLargeChannelWouldCost) {
  for (const TestCheckpoint& plain : {tiny_mamba(kShape), tiny_mamba2(kShape2), tiny_neox(kNeox)}) {
    const TestCheckpoint checkpoint = with_outlier_channel(plain, 16);
    const double split = difference(checkpoint, quantized(outliers_above(6), checkpoint));
    const double rounded = difference(checkpoint, quantized(outliers_above(0), checkpoint));
    EXPECT_LT(split, 0.5 * rounded) << checkpoint.config.at("model_type");
    EXPECT_GT(split, 0) << checkpoint.config.at("model_type");
  }
}

TEST(QuantizedModel, IsNearTheFloatModel) {
  // Whom the router asks may depend on a rounding: here it asks all. And as many blocks as others
  // have: a mixer, attention, and both kinds of feed-forward.
  TinyJamba all_experts = kJamba;
  all_experts.experts_per_token = all_experts.experts;
  all_experts.layers = 2;
  for (const TestCheckpoint& checkpoint :
       {tiny_mamba(kShape), tiny_mamba2(kShape2), tiny_neox(kNeox), tiny_jamba(all_experts)}) {
    const std::vector<std::int32_t> ids = random_ids(7, 64, kShape.V);
    const std::vector<float> expected =
        logits_of({checkpoint.config, checkpoint.source()}, ids, select_isa(), 1, ids.size());
    double squares = 0;
    for (float x : expected) squares += static_cast<double>(x) * x;
    for (const auto& [name, bound] : {std::pair("f16", 0.01),
                                      {"bf16", 0.05},
                                      {"krait-w8a8", 0.1},
                                      {"llmint8-w8a8", 0.1},
                                      {"dynamic-w8a8", 0.2},
                                      {"krait-w4a8-h8", 0.3},
                                      {"krait-w4a16", 0.3}}) {
      const std::vector<float> got =
          logits_of(quantized(load_recipe(name), checkpoint), ids, select_isa(), 1, ids.size());
      double errors = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        errors += std::pow(static_cast<double>(got[i]) - expected[i], 2);
      }
      EXPECT_LT(std::sqrt(errors / squares), bound)
          << name << " of " << checkpoint.config.at("model_type");
      EXPECT_GT(errors, 0) << name;
    }
  }
}

}  // namespace
}  // namespace krait
