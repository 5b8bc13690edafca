// Quamba2's parts: reordering, scales by cluster, group and part, and how states are kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "io/checkpoint.h"
#include "models/test_attention.h"
#include "quant/calibrate.h"
#include "quant/nearest.h"
#include "quant/quantize_to_memory.h"
#include "quant/sort_and_cluster.h"
#include "quant/test_support.h"

namespace krait {
namespace {

const std::string kMixer = "backbone.layers.0.mixer.";

Json cluster_step(int heads = 4, int channels = 4) {
  return {{"name", "cluster"}, {"site", "x"}, {"heads", heads}, {"channels", channels}};
}

Recipe clusters_only() {
  return parse_recipe({{"name", "clusters"}, {"steps", {cluster_step(), {{"name", "calibrate"}}}}},
                      "test");
}

bool same_values(const TensorSource& a, const TensorSource& b, const std::string& name) {
  return std::ranges::equal(to_f32(a.get(name).view()).as<float>(),
                            to_f32(b.get(name).view()).as<float>());
}

TEST(Reorder, KeepsTheFunctionAndTheShapes) {
  for (const std::int64_t groups : {1, 2}) {
    for (const bool more : {false, true}) {
      const TestCheckpoint original = tiny_mamba2({.D = 24,
                                                   .H = 12,
                                                   .P = 10,
                                                   .G = groups,
                                                   .N = 8,
                                                   .linear_bias = more,
                                                   .conv_bias = more,
                                                   .D_per_channel = more,
                                                   .dtype = more ? DType::bf16 : DType::f32});
      const auto source = original.source();
      QuantizationPlan plan = plan_quantization(clusters_only(), original.config, *source);
      const auto reordered = sort_and_cluster(plan, *source, dummy_magnitudes(plan.layout));
      int moved = 0;
      TestCheckpoint result{original.config, {}};
      for (const TensorInfo& info : reordered->list()) {
        result.tensors[info.name] = reordered->get(info.name);
        EXPECT_EQ(result.tensors[info.name].shape(), info.shape);
        EXPECT_EQ(result.tensors[info.name].dtype(), info.dtype);
        moved += !same_values(*reordered, *source, info.name);
      }
      // in_proj, conv1d, dt_bias, A_log, D, the norm and out_proj of both layers, and biases.
      EXPECT_EQ(moved, more ? 2 * 9 : 2 * 7);
      const auto ids = random_ids(3, 40, 61);
      EXPECT_LT(relative_error(logits_of(result, ids), logits_of(original, ids)), 1e-5);
    }
  }
}

TEST(Reorder, WritesAnOrdinaryFloatCheckpoint) {
  const QuantizeFixture fixture(
      tiny_mamba2({.D = 24, .H = 12, .P = 10, .G = 2, .N = 8, .dtype = DType::bf16}));
  write_file_atomic(fixture.directory / "clusters.json", clusters_only().source.dump());
  const std::string directory = fixture.run(fixture.directory / "clusters.json", "out");
  const Checkpoint in = open_checkpoint(fixture.directory / "model"),
                   out = open_checkpoint(directory);
  EXPECT_FALSE(out.config.contains("quantization_config"));
  const auto before = in.tensors->list(), after = out.tensors->list();
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].name, after[i].name);
    EXPECT_EQ(before[i].shape, after[i].shape);
    EXPECT_EQ(before[i].dtype, after[i].dtype);
  }
  EXPECT_FALSE(same_values(*in.tensors, *out.tensors, kMixer + "in_proj.weight"));
  TestCheckpoint reordered{out.config, {}};
  for (const TensorInfo& info : after) reordered.tensors[info.name] = out.tensors->get(info.name);
  const auto ids = random_ids(3, 40, 61);
  EXPECT_LT(relative_error(logits_of(reordered, ids), logits_of(fixture.checkpoint, ids)), 1e-5);
}

std::size_t distinct(const Tensor& scale) {
  const auto values = scale.as<float>();
  return std::set<float>(values.begin(), values.end()).size();
}

TEST(Quamba2, HasScalesByPartGroupAndCluster) {
  const QuantizeFixture fixture(tiny_mamba2({.D = 24, .H = 20, .P = 8, .G = 2, .N = 8}));
  const Checkpoint made = open_checkpoint(fixture.run("quamba2-w8a8", "out"));
  const std::int64_t E = 160, GN = 16, H = 20;
  const auto get = [&](const std::string& name) { return made.tensors->get(kMixer + name); };
  const Tensor in_proj = get("in_proj.weight_scale");
  ASSERT_EQ(in_proj.shape(), (Shape{2 * E + 2 * GN + H, 1}));
  EXPECT_EQ(distinct(in_proj), 5u);
  std::int64_t begin = 0;
  for (const std::int64_t rows : {E, E, GN, GN, H}) {
    const auto part = in_proj.as<float>().subspan(static_cast<std::size_t>(begin),
                                                  static_cast<std::size_t>(rows));
    EXPECT_EQ(std::set<float>(part.begin(), part.end()).size(), 1u);
    begin += rows;
  }
  EXPECT_EQ(get("conv1d.weight_scale").shape(), (Shape{E + 2 * GN, 1}));
  EXPECT_EQ(distinct(get("conv1d.weight_scale")), 3u);
  EXPECT_EQ(distinct(get("conv1d.bias_scale")), 3u);
  EXPECT_EQ(get("out_proj.weight_scale").shape(), (Shape{1}));
  for (const char* name : {"B_scale", "C_scale"}) {
    EXPECT_EQ(get(name).shape(), (Shape{GN}));
    EXPECT_EQ(distinct(get(name)), 2u);
  }
  const Tensor x = get("x_scale"), state = get("ssm_state_scale"), group = get("ssm_state_group");
  EXPECT_EQ(x.shape(), (Shape{E}));
  EXPECT_EQ(state.shape(), (Shape{2 * 4 * 4, 8}));
  ASSERT_EQ(group.shape(), (Shape{E}));
  EXPECT_EQ(distinct(x), 32u);
  // Channels of a cluster share both scales; clusters are runs of a head and stay in their group.
  std::map<std::int32_t, float> of_group;
  for (std::int64_t c = 0; c < E; ++c) {
    const std::int32_t g = group.as<std::int32_t>()[static_cast<std::size_t>(c)];
    EXPECT_EQ(g / 16, c / (E / 2));
    const float scale = x.as<float>()[static_cast<std::size_t>(c)];
    EXPECT_EQ(of_group.try_emplace(g, scale).first->second, scale);
    if (c % 8 == 0) continue;
    EXPECT_GE(g, group.as<std::int32_t>()[static_cast<std::size_t>(c) - 1]);
  }
  EXPECT_EQ(of_group.size(), 32u);
  const Json& activations = made.config.at("quantization_config").at("krait").at("activations");
  EXPECT_EQ(activations.at("x").at("strategy"), "channel");
  EXPECT_EQ(activations.at("ssm_state").at("strategy"), "group");
}

// The float model in the new order, watched: what each channel, and each state at the end of a
// sample, gets at most is within its scale's range, and some channel of each cluster fills it.
TEST(Quamba2, ScalesAreWhatTheReorderedModelShows) {
  struct Watch final : Tap {
    std::map<int, std::vector<float>> largest;  // of every column, of a state of every element
    const ModelLayout* layout = nullptr;
    void observe(int site, const Activation& value) override {
      const bool is_state = layout->activations[static_cast<std::size_t>(site)].is_state;
      std::vector<float>& most = largest[site];
      most.resize(static_cast<std::size_t>(value.cols * (is_state ? value.rows : 1)));
      for (std::int64_t r = 0; r < value.rows; ++r) {
        for (std::int64_t c = 0; c < value.cols; ++c) {
          float& m = most[static_cast<std::size_t>((is_state ? r * value.cols : 0) + c)];
          m = std::max(m, std::fabs(value.f32(r)[c]));
        }
      }
    }
  } watch;
  const QuantizeFixture fixture(tiny_mamba2({.D = 24, .H = 10, .P = 8, .G = 2, .N = 8}));
  write_file_atomic(fixture.directory / "clusters.json", clusters_only().source.dump());
  QuantizeOptions options = fixture.options("quamba2-w8a8");
  options.samples = 100;  // all there are: the order does not matter
  quantize(fixture.directory / "model", fixture.directory / "out", options);
  options.recipe = fixture.directory / "clusters.json";
  quantize(fixture.directory / "model", fixture.directory / "float", options);
  const Checkpoint made = open_checkpoint(fixture.directory / "out");
  const Checkpoint plain = open_checkpoint(fixture.directory / "float");
  TestRuntime runtime;
  const auto model = load_model(runtime.ctx, plain.config, *plain.tensors);
  watch.layout = &model->layout();
  runtime.ctx.tap = &watch;
  const std::vector<std::int32_t> ids = random_ids(99, 400, 61);
  for (std::size_t begin = 0; begin + 33 <= ids.size(); begin += 33) {
    SequenceState state(model->state_layout());
    all_logits(runtime.ctx, *model, std::span(ids).subspan(begin, 33), state);
  }
  int checked = 0;
  for (const auto& [index, largest] : watch.largest) {
    const ActivationSite& site = model->layout().activations[static_cast<std::size_t>(index)];
    const auto channels = static_cast<std::size_t>(site.channels);
    if (site.role != "x" && site.role != "B" && !site.is_state) continue;
    const auto scale = made.tensors->get(site.name + "_scale");
    std::map<float, float> fullest;  // by scale
    for (std::size_t i = 0; i < largest.size(); ++i) {
      std::size_t at = i % channels;
      if (site.is_state) {
        const auto group = made.tensors->get(site.name + "_group").as<std::int32_t>()[at];
        at = static_cast<std::size_t>(group * site.states) + i / channels;
      }
      const float s = scale.as<float>()[at];
      EXPECT_LE(largest[i], 127 * s * 1.0001f) << site.name;
      fullest[s] = std::max(fullest[s], largest[i]);
    }
    for (const auto& [s, most] : fullest) EXPECT_NEAR(most, 127 * s, 1e-4f * most) << site.name;
    ++checked;
  }
  EXPECT_EQ(checked, 6);
}

TEST(QuantizeNearest, GivesEveryPartItsScale) {
  Rng rng(4);
  std::vector<float> values(7 * 5);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>((rng.uniform() - 0.5) * (i < 15 ? 1 : 8));
  }
  ThreadPool threads(2);
  const std::vector<std::int64_t> parts = {3, 4}, wrong = {3, 3};
  const auto quantize = [&](const std::vector<std::int64_t>& of, const Tensor& w) {
    return quantize_nearest(threads, w, format_8bit(Strategy::channel, of, 7, 5),
                            StepChoice::absmax, "w");
  };
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor w = test_tensor({7, 5}, values, dtype);
    const QuantizedTensor all = quantize(parts, w);
    EXPECT_EQ(all.scale.shape(), (Shape{7, 1}));
    const auto* bytes = static_cast<const std::byte*>(w.view().data);
    for (const auto& [begin, rows] : {std::pair<std::int64_t, std::int64_t>{0, 3}, {3, 4}}) {
      const auto offset = static_cast<std::size_t>(begin * 5) * size_of(dtype);
      const QuantizedTensor one =
          quantize_nearest(threads, to_f32({bytes + offset, dtype, {rows, 5}}),
                           format_8bit(Strategy::tensor, {}, rows, 5), StepChoice::absmax, "w");
      for (std::int64_t i = 0; i < rows * 5; ++i) {
        EXPECT_EQ(all.q.as<std::int8_t>()[static_cast<std::size_t>(begin * 5 + i)],
                  one.q.as<std::int8_t>()[static_cast<std::size_t>(i)]);
        EXPECT_EQ(all.scale.as<float>()[static_cast<std::size_t>(begin + i / 5)],
                  one.scale.as<float>()[0]);
      }
    }
    expect_error([&] { quantize(wrong, w); }, ErrorCode::invalid_argument,
                 {"tensor w", "7 rows", "got 6"});
  }
}

/// A shipped recipe with some changes, as users make them.
struct Variant {
  const char* name;
  const char* base;
  Json changes;  ///< by pointer
};

const std::vector<Variant>& variants() {
  static const Json int8 = {{"bits", 8}, {"strategy", "channel"}};
  static const Json token = {{"bits", 8}, {"strategy", "token"}, {"dynamic", true}};
  static const Json rows = {{"bits", 8}, {"strategy", "channel"}, {"dynamic", true}};
  static const std::vector<Variant> all = {
      {"as_shipped_w8a8", "quamba2-w8a8", Json::object()},
      {"as_shipped_w4a8", "quamba2-w4a8", Json::object()},
      {"as_shipped_w4a16", "quamba2-w4a16", Json::object()},
      {"head_of_4_bits",
       "quamba2-w4a8",
       {{"/weights/embeddings", int8},
        {"/weights/lm_head", {{"bits", 4}, {"strategy", "group"}, {"group_size", 128}}},
        {"/activations/lm_head.input", token}}},
      {"head_of_8_bits",
       "quamba2-w8a8",
       {{"/weights/embeddings", int8},
        {"/weights/lm_head", int8},
        {"/activations/lm_head.input", token}}},
      {"state_by_row", "quamba2-w8a8", {{"/activations/ssm_state", rows}}},
      {"only_the_state_by_row", "krait-w8a8", {{"/activations/ssm_state", rows}}},
  };
  return all;
}

class Quamba2Variants : public testing::TestWithParam<std::tuple<std::size_t, std::int64_t>> {
 protected:
  const Variant& variant() const { return variants()[std::get<0>(GetParam())]; }
  std::int64_t groups() const { return std::get<1>(GetParam()); }
};

TEST_P(Quamba2Variants, GiveTheSameBitsOnEveryMachineAndStayNear) {
  const TestCheckpoint base = tiny_mamba2({.D = 40, .H = 10, .P = 8, .G = groups(), .N = 16});
  const QuantizeFixture fixture(base);
  Json recipe = by_role(variant().base, layout_of(base));
  for (const auto& [pointer, value] : variant().changes.items()) {
    recipe[Json::json_pointer(pointer)] = value;
  }
  write_file_atomic(fixture.directory / "recipe.json", recipe.dump());
  const Checkpoint made = open_checkpoint(fixture.run(fixture.directory / "recipe.json", "out"));
  const auto ids = random_ids(5, 29, 61);
  const auto run = [&](Isa isa, int threads, std::size_t cut) {
    TestRuntime runtime(isa, threads);
    const auto model = load_model(runtime.ctx, made.config, *made.tensors);
    SequenceState state(model->state_layout());
    std::vector<float> logits;
    for (std::size_t begin = 0; begin < ids.size(); begin += cut) {
      const auto part = std::span(ids).subspan(begin, std::min(cut, ids.size() - begin));
      const auto more = all_logits(runtime.ctx, *model, part, state);
      logits.insert(logits.end(), more.begin(), more.end());
      if (cut == 3) {  // through a file
        state = SequenceState::deserialize(state.serialize(), model->state_layout());
      }
    }
    return logits;
  };
  const std::vector<float> expected = run(Isa::reference, 1, ids.size());
  const std::string name = variant().base;
  // Five short samples: static states of a random model are clipped often.
  const double bound = name == "krait-w8a8" ? 0.05 : name == "quamba2-w4a16" ? 0.25 : 0.5;
  EXPECT_LT(relative_error(expected, logits_of(base, ids)), bound);
  for (const Isa isa : all_isas()) {
    if (!cpu_supports(isa)) continue;
    for (const int threads : {1, 3}) {
      for (const std::size_t cut : {1, 3, 16, 29}) {
        EXPECT_EQ(run(isa, threads, cut), expected)
            << name_of(isa) << ", " << threads << " threads, calls of " << cut;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, Quamba2Variants,
                         testing::Combine(testing::Range(std::size_t{0}, std::size_t{7}),
                                          testing::Values(1, 2)),
                         [](const auto& test) {
                           return std::string(variants()[std::get<0>(test.param)].name) + "_" +
                                  std::to_string(std::get<1>(test.param));
                         });

TEST(Quamba2VariantsList, IsAllTested) { EXPECT_EQ(variants().size(), 7u); }

// ---- recipes ------------------------------------------------------------------------------------

void expect_refused(const char* base, const char* pointer, const Json& value,
                    std::initializer_list<std::string> parts,
                    const ModelLayout& layout = layout_of(tiny_mamba2({.D = 24, .G = 2}))) {
  Json json = by_role(base, layout_of(tiny_mamba2({.D = 24, .H = 10, .P = 4, .G = 2})));
  json[Json::json_pointer(pointer)] = value;
  expect_error([&] { fit_recipe(parse_recipe(json, "r.json"), layout); },
               ErrorCode::invalid_argument, parts);
}

TEST(Quamba2Recipe, RefusesWhatMakesNoSense) {
  const char* const q = "quamba2-w8a8";
  expect_refused(q, "/steps/0/site", "z", {"no heads to cluster at \"z\"", "known: x"});
  expect_refused(q, "/steps/0/heads", 0, {"\"heads\" must be 1 to 8, got 0"});
  expect_refused(q, "/steps/0/channels", 9, {"\"channels\" must be 1 to 8, got 9"});
  expect_refused(q, "/steps/0/clusters", 9, {"cluster: unknown key \"clusters\""});
  expect_refused(q, "/steps/1", cluster_step(2, 2), {"\"cluster", "occurs twice"});
  expect_refused(q, "/activations/z/strategy", "channel",
                 {"activations.z cannot be int8/channel", "order of channels"});
  expect_refused(q, "/activations/z/strategy", "group",
                 {"activations.z cannot be int8/group", "channels in groups"});
  expect_refused(q, "/activations/in_proj.input/strategy", "group",
                 {"activations.in_proj.input cannot be int8/group"});
  expect_refused(q, "/activations/x/dynamic", true, {"observer is for static"});
  expect_refused(q, "/activations/B/rounding", "nearest", {"unknown key \"rounding\""});
  expect_refused(q, "/shared_scales", Json::array({{"B", "C"}}),
                 {"shared_scales: B has a scale for each of several groups"});
  const Json rows = {{"bits", 8}, {"strategy", "channel"}, {"dynamic", true}};
  Json four = rows, tensor = rows;
  four["bits"] = 4;
  tensor["strategy"] = "tensor";
  expect_refused("krait-w8a8", "/activations/ssm_state", four,
                 {"ssm_state cannot be int4/channel/dynamic", "int8/channel/dynamic"});
  expect_refused("krait-w8a8", "/activations/ssm_state", tensor,
                 {"ssm_state cannot be int8/tensor/dynamic"});
  expect_refused("krait-w8a8", "/activations/x", rows,
                 {"activations.x cannot be int8/channel/dynamic"});
  // Mamba-1's state has no such kernel.
  expect_refused("krait-w8a8", "/activations/ssm_state", rows,
                 {"ssm_state cannot be int8/channel/dynamic", "needs a state of Mamba-2"},
                 layout_of(tiny_mamba({.D = 24, .E = 40})));
  expect_error(
      [] {
        parse_recipe({{"name", "r"}, {"steps", {cluster_step()}}}, "r");
      },
      ErrorCode::invalid_argument, {"\"cluster\"", "no \"calibrate\""});
}

TEST(Quamba2Recipe, BecomesOneScaleWhereThereAreNoGroups) {
  const Recipe recipe = load_recipe("quamba2-w8a8");
  const Recipe mamba1 = fit_recipe(recipe, layout_of(tiny_mamba({.D = 24, .E = 40})));
  EXPECT_FALSE(mamba1.cluster);
  EXPECT_FALSE(mamba1.weights.at("in_proj").by_part);
  EXPECT_EQ(mamba1.activations.at("B").args.strategy, Strategy::tensor);
  EXPECT_EQ(mamba1.activations.at("ssm_state").args.strategy, Strategy::tensor);
  const Recipe one = fit_recipe(recipe, layout_of(tiny_mamba2({.D = 24, .H = 10, .P = 4, .G = 1})));
  EXPECT_TRUE(one.weights.at("in_proj").by_part);
  EXPECT_FALSE(one.weights.at("A_log").by_part);
  EXPECT_EQ(one.activations.at("B").args.strategy, Strategy::tensor);
  EXPECT_EQ(one.activations.at("x").args.strategy, Strategy::group);
  EXPECT_EQ(one.activations.at("ssm_state").args.strategy, Strategy::group);
  const Recipe two = fit_recipe(recipe, layout_of(tiny_mamba2({.D = 24, .H = 10, .P = 4})));
  EXPECT_EQ(two.activations.at("B").args.strategy, Strategy::group);
}

}  // namespace
}  // namespace krait
