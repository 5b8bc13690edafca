// quantize() from a directory to a directory.
#include "krait/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "io/checkpoint.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear_codes.h"
#include "krait/version.h"
#include "quant/observer.h"
#include "quant/quantization_config.h"
#include "quant/quantize_to_memory.h"
#include "quant/rotate.h"
#include "quant/test_support.h"

namespace krait {
namespace {

const std::string kMixer = "backbone.layers.1.mixer.";

std::string directory_bytes(const std::string& directory) {
  std::string bytes;
  for (const char* name : {"model.safetensors", "config.json", "README.md"}) {
    bytes += read_file(directory + "/" + name);
  }
  return bytes;
}

TEST(Quantize, WritesACheckpointThatLoads) {
  const QuantizeFixture fixture;
  write_file_atomic(fixture.directory / "model/tokenizer_config.json", "{\"a\": 1}");
  write_file_atomic(fixture.directory / "model/LICENSE", "free");
  const std::string output = fixture.directory / "deep/er/out";
  const QuantizeReport report =
      quantize(fixture.directory / "model", output, fixture.options("quamba-w8a8"));
  EXPECT_EQ(report.recipe, "quamba-w8a8");
  EXPECT_EQ(report.calibration_samples, 5);
  EXPECT_EQ(report.calibration_tokens, 5 * 33);
  EXPECT_LT(report.output_bytes, report.source_bytes / 2);
  EXPECT_EQ(read_file(output + "/tokenizer_config.json"), "{\"a\": 1}");
  EXPECT_EQ(read_file(output + "/LICENSE"), "free");
  EXPECT_NE(read_file(output + "/README.md").find("quamba-w8a8"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(fixture.directory / "deep/er/out.partial"));

  const Checkpoint checkpoint = open_checkpoint(output);
  std::size_t bytes = 0, parameters = 0;
  for (const TensorInfo& info : checkpoint.tensors->list()) {
    bytes += static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
    if (!info.name.ends_with("_scale"))
      parameters += static_cast<std::size_t>(info.shape.elements());
  }
  EXPECT_EQ(report.output_bytes, bytes);
  EXPECT_DOUBLE_EQ(report.bits_per_weight,
                   8.0 * static_cast<double>(bytes) / static_cast<double>(parameters));
  TestRuntime runtime;
  EXPECT_NO_THROW(load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors));
}

// From a directory through every recipe to a directory that runs, near the original.
TEST(Quantize, Mamba2KeepsItsFunction) {
  TestCheckpoint original = tiny_mamba2({.D = 48, .H = 10, .P = 8, .N = 16});
  original.config["time_step_limit"][1] = {{"__float__", "Infinity"}};  // and has to stay that
  const QuantizeFixture fixture(original);
  const auto ids = random_ids(3, 50, 61);
  const auto logits_of = [&](const std::string& directory) {
    const Checkpoint checkpoint = open_checkpoint(directory);
    TestRuntime runtime(select_isa());
    const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors);
    SequenceState state(model->state_layout());
    return all_logits(runtime.ctx, *model, ids, state);
  };
  const std::vector<float> expected = logits_of(fixture.directory / "model");
  for (const std::string& recipe : recipe_names()) {
    const bool is_rough = recipe.find("w3a8") != std::string::npos ||
                          recipe.find("w2a8") != std::string::npos || recipe == "krait-ternary";
    const std::vector<float> got = logits_of(fixture.run(recipe, recipe));
    double error = 0, squares = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      error += std::pow(static_cast<double>(got[i]) - expected[i], 2);
      squares += std::pow(static_cast<double>(expected[i]), 2);
    }
    const double bound = recipe == "krait-w8a8"                   ? 0.05
                         : is_rough                               ? 1
                         : recipe.find("w4") != std::string::npos ? 0.4
                                                                  : 0.25;
    EXPECT_LT(std::sqrt(error / squares), bound) << recipe;
  }
}

TEST(Quantize, StatesItsProvenance) {
  const QuantizeFixture fixture;
  const std::string output = fixture.run("quamba-w8a8", "out");
  const Json block = read_json_file(output + "/config.json").at("quantization_config");
  EXPECT_EQ(block.at("quant_method"), "compressed-tensors");
  EXPECT_EQ(block.at("format"), "int-quantized");
  const Json& krait = block.at("krait");
  EXPECT_EQ(krait.at("format_version"), 1);
  EXPECT_EQ(krait.at("recipe"), by_role("quamba-w8a8", describe_model(fixture.checkpoint.config, *fixture.checkpoint.source())));
  EXPECT_EQ(krait.at("weights").at("in_proj"),
            (Json{{"bits", 8}, {"type", "int"}, {"strategy", "tensor"}}));
  EXPECT_EQ(krait.at("activations").at("out_proj.input"), (Json{{"bits", 8},
                                                                {"type", "int"},
                                                                {"strategy", "tensor"},
                                                                {"dynamic", false},
                                                                {"hadamard_block", 40}}));
  EXPECT_EQ(krait.at("activations").at("ssm_state"), (Json{{"bits", 16}, {"type", "float"}}));
  const Json& provenance = krait.at("provenance");
  EXPECT_EQ(provenance.at("source_sha256"), checkpoint_hash(fixture.directory / "model"));
  EXPECT_EQ(provenance.at("recipe_sha256"),
            "sha256:" + sha256_hex(krait.at("recipe").dump()));
  EXPECT_EQ(provenance.at("krait_version"), version());
  EXPECT_EQ(provenance.at("seed"), 1234);
  EXPECT_EQ(provenance.at("calibration"),
            (Json{{"source", "tokens.bin"},
                  {"sha256", "sha256:" + sha256_hex(read_file(fixture.directory / "tokens.bin"))},
                  {"samples", 5},
                  {"tokens", 165},
                  {"seq_len", 33}}));
}

TEST(Quantize, FourBitGroupsAreCompressedTensors) {
  const QuantizeFixture fixture;
  const std::string output = fixture.run("krait-w4a8-h8", "out");
  const Json block = read_json_file(output + "/config.json").at("quantization_config");
  EXPECT_EQ(block.at("format"), "mixed-precision");
  const Json& groups = block.at("config_groups");
  ASSERT_EQ(groups.size(), 3u);  // the table, the packed products, the head
  EXPECT_EQ(groups.at("group_0").at("format"), "int-quantized");
  const Json& packed = groups.at("group_1");
  EXPECT_EQ(packed.at("format"), "pack-quantized");
  EXPECT_EQ(packed.at("targets"), Json({"re:.*in_proj$", "re:.*out_proj$", "re:.*x_proj$"}));
  EXPECT_EQ(packed.at("weights"), (Json{{"num_bits", 4},
                                        {"type", "int"},
                                        {"symmetric", true},
                                        {"strategy", "group"},
                                        {"group_size", 8},  // the most that divides 24 and 40
                                        {"dynamic", false}}));
  EXPECT_EQ(packed.at("input_activations").at("strategy"), "token");
  EXPECT_EQ(block.at("krait").at("weights").at("in_proj").at("group_size"), 64);
  const std::string float_inputs = fixture.run("krait-w4a16", "float");
  EXPECT_EQ(read_json_file(float_inputs + "/config.json")
                .at("/quantization_config/config_groups/group_1/input_activations"_json_pointer),
            Json());
  EXPECT_NE(read_file(output + "/README.md").find("int4/group64"),
            std::string::npos);

  const Checkpoint checkpoint = open_checkpoint(output);
  const std::string name = kMixer + "out_proj.weight";
  const Tensor words = checkpoint.tensors->get(name + "_packed");
  EXPECT_EQ(words.dtype(), DType::i32);
  EXPECT_EQ(words.shape(), (Shape{24, 5}));
  EXPECT_EQ(checkpoint.tensors->get(name + "_scale").shape(), (Shape{24, 5}));
  const Tensor shape = checkpoint.tensors->get(name + "_shape");
  EXPECT_EQ(shape.as<std::int64_t>()[0], 24);
  EXPECT_EQ(shape.as<std::int64_t>()[1], 40);
}

TEST(Quantize, ARuleForOneProductComesBeforeThatOfItsRole) {
  const QuantizeFixture fixture;
  Json json = load_recipe("rtn-w4a8").source;
  json["weights"]["table"] = json["weights"]["head"] = "int8/channel";
  json["weights"][kMixer + "out_proj"] = {{"bits", 8}, {"strategy", "channel"}};
  const std::string path = fixture.directory / "mixed.json";
  write_file_atomic(path, json.dump());
  const std::string output = fixture.run(path, "out");
  const Checkpoint checkpoint = open_checkpoint(output);
  const auto dtype_of = [&](const std::string& name) {
    return checkpoint.tensors->get(name).dtype();
  };
  EXPECT_EQ(dtype_of(kMixer + "out_proj.weight"), DType::i8);
  EXPECT_EQ(dtype_of("backbone.layers.0.mixer.out_proj.weight_packed"), DType::i32);
  EXPECT_EQ(dtype_of(kMixer + "in_proj.weight_packed"), DType::i32);
  TestRuntime runtime;
  EXPECT_NO_THROW(load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors));

  // What other tools read names each out_proj, as their groups differ.
  const Json block = read_json_file(output + "/config.json").at("quantization_config");
  std::map<std::string, int> bits;
  for (const auto& [name, group] : block.at("config_groups").items()) {
    for (const Json& target : group.at("targets")) {
      bits[target.get<std::string>()] = group.at("weights").at("num_bits").get<int>();
    }
  }
  EXPECT_EQ(bits.at(kMixer + "out_proj"), 8);
  EXPECT_EQ(bits.at("backbone.layers.0.mixer.out_proj"), 4);
  EXPECT_EQ(bits.at("re:.*in_proj$"), 4);
  EXPECT_FALSE(bits.contains("re:.*out_proj$"));
}

TEST(Quantize, FourBitsOnDiskAndInMemoryAreTheSameModel) {
  const QuantizeFixture fixture;
  for (const char* recipe : {"krait-w4a8-h8", "krait-w4a16", "krait-w4a8-g128"}) {
    ThreadPool threads(2);
    Json nearest = load_recipe(recipe).source;  // what is in memory was not calibrated
    nearest.erase("calibrate");
    nearest["round"] = "nearest";
    const std::string path = fixture.directory / (recipe + std::string(".json"));
    write_file_atomic(path, nearest.dump());
    const QuantizedModel memory = quantize_to_memory(
        fixture.checkpoint.config, *fixture.checkpoint.source(), load_recipe(path), threads);
    const Checkpoint disk = open_checkpoint(fixture.run(path, recipe));
    TestRuntime runtime;
    const std::vector<std::int32_t> ids = random_ids(3, 20, 61);
    std::vector<float> logits[2];
    for (const bool on_disk : {false, true}) {
      const auto model = on_disk ? load_model(runtime.ctx, disk.config, *disk.tensors)
                                 : load_model(runtime.ctx, memory.config, *memory.tensors);
      SequenceState state(model->state_layout());
      logits[on_disk] = all_logits(runtime.ctx, *model, ids, state);
    }
    EXPECT_EQ(logits[0], logits[1]) << recipe;
  }
}

TEST(Quantize, RandomWordsHaveTheDeviationOfTheWeights) {
  const QuantizeFixture fixture(tiny_mamba({.D = 64, .E = 128}));
  QuantizedModel made[2];
  for (const int i : {0, 1}) {
    ThreadPool threads(1 + 2 * i);
    made[i] = quantize_to_memory(fixture.checkpoint.config, *fixture.checkpoint.source(),
                                 load_recipe("krait-w3a8"), threads, {}, Digits::rough);
  }
  double of_codes = 0, of_weights = 0;
  for (const TensorInfo& info : made[0].tensors->list()) {
    const Tensor tensor = made[0].tensors->get(info.name), again = made[1].tensors->get(info.name);
    ASSERT_TRUE(std::ranges::equal(tensor.as<std::byte>(), again.as<std::byte>())) << info.name;
    constexpr std::string_view kCodes = "_codes";
    if (!info.name.ends_with(kCodes)) continue;
    std::string name = info.name;
    name.resize(name.size() - kCodes.size());
    Weight weight;
    weight.data = tensor;
    weight.code_bits = 3;
    weight.table = made[0].tensors->get(name + "_table");
    weight.scale = made[0].tensors->get(name + "_scale");
    weight.strategy = Strategy::group;
    std::vector<float> row(static_cast<std::size_t>(weight.cols()));
    weight.group_size = static_cast<int>(weight.cols() / weight.scale.shape()[1]);
    for (std::int64_t r = 0; r < weight.rows(); ++r) {
      decode_row(weight, r, row.data());
      for (const float w : row) of_codes += static_cast<double>(w * w);
    }
    const Tensor original = to_f32(fixture.checkpoint.source()->get(name).view());
    for (const float w : original.as<float>()) {
      of_weights += static_cast<double>(w * w);
    }
  }
  EXPECT_NEAR(of_codes / of_weights, 1, 0.1);
}

TEST(Quantize, GroupsAreCompressedTensors) {
  const QuantizeFixture fixture;
  const Json block =
      read_json_file(fixture.run("krait-w8a8", "out") + "/config.json").at("quantization_config");
  EXPECT_EQ(block.at("ignore"), Json({"re:.*dt_proj$"}));
  const Json weights = {{"num_bits", 8},
                        {"type", "int"},
                        {"symmetric", true},
                        {"strategy", "channel"},
                        {"dynamic", false}};
  Json token = weights;
  token["strategy"] = "token";
  token["dynamic"] = true;
  const Json& groups = block.at("config_groups");
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups.at("group_0").at("targets"),
            Json({"re:.*embeddings$", "re:.*lm_head$", "re:.*x_proj$"}));
  EXPECT_EQ(groups.at("group_0").at("input_activations"), Json());
  EXPECT_EQ(groups.at("group_1").at("targets"), Json({"re:.*in_proj$", "re:.*out_proj$"}));
  EXPECT_EQ(groups.at("group_1").at("weights"), weights);
  EXPECT_EQ(groups.at("group_1").at("input_activations"), token);
  EXPECT_FALSE(block.at("krait").at("provenance").contains("calibration"));
}

TEST(Quantize, WeightsAreRoundedByTheirScales) {
  const QuantizeFixture fixture;
  const Checkpoint output = open_checkpoint(fixture.run("krait-w8a8", "out"));
  const auto rounded = [](float w, float s) { return static_cast<int>(std::rint(w / s)); };
  {  // x_proj is not rotated
    const std::string name = kMixer + "x_proj.weight";
    const Tensor w = fixture.checkpoint.tensors.at(name);
    const Tensor q = output.tensors->get(name), scale = output.tensors->get(name + "_scale");
    ASSERT_EQ(q.dtype(), DType::i8);
    const std::int64_t rows = w.shape()[0], cols = w.shape()[1];
    ASSERT_EQ(scale.shape(), (Shape{rows, 1}));
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ASSERT_EQ(q.as<std::int8_t>()[at],
                rounded(w.as<float>()[at], scale.as<float>()[static_cast<std::size_t>(i / cols)]));
    }
  }
  EXPECT_EQ(output.tensors->get(kMixer + "dt_proj.weight").dtype(), DType::f32);
  EXPECT_EQ(output.tensors->get(kMixer + "A_log").dtype(), DType::f32);
  EXPECT_FALSE(output.tensors->contains("lm_head.weight"));
  // out_proj: rows rotated by an independent product with the matrix H, then rounded.
  const std::int64_t E = 40;
  const Tensor w = fixture.checkpoint.tensors.at(kMixer + "out_proj.weight");
  const Tensor q = output.tensors->get(kMixer + "out_proj.weight");
  const Tensor scale = output.tensors->get(kMixer + "out_proj.weight_scale");
  for (std::int64_t i = 0; i < E; ++i) {  // column i of W H^T = W (row i of H)
    std::vector<double> h(static_cast<std::size_t>(E));
    for (std::int64_t j = 0; j < E; ++j) {
      std::vector<double> unit(static_cast<std::size_t>(E), 0.0);
      unit[static_cast<std::size_t>(j)] = 1;
      hadamard_row(unit, E);
      h[static_cast<std::size_t>(j)] = unit[static_cast<std::size_t>(i)];
    }
    for (std::int64_t r = 0; r < w.shape()[0]; ++r) {
      double sum = 0;
      for (std::int64_t j = 0; j < E; ++j) {
        sum += w.as<float>()[static_cast<std::size_t>(r * E + j)] * h[static_cast<std::size_t>(j)];
      }
      const double exact = sum / scale.as<float>()[static_cast<std::size_t>(r)];
      EXPECT_NEAR(q.as<std::int8_t>()[static_cast<std::size_t>(r * E + i)], exact, 0.5 + 1e-4);
    }
  }
}

TEST(Quantize, StaticScalesAreWhatTheFloatModelShows) {
  /// Largest magnitudes of every site's channels over the samples, one token sequence each.
  struct Watch final : Tap {
    std::map<int, std::vector<float>> largest;
    void observe(int site, const Activation& value) override {
      std::vector<float>& most = largest[site];
      most.resize(static_cast<std::size_t>(value.cols));
      for (std::int64_t r = 0; r < value.rows; ++r) {
        for (std::size_t c = 0; c < most.size(); ++c) {
          most[c] = std::max(most[c], std::fabs(value.f32(r)[c]));
        }
      }
    }
  } watch;
  const QuantizeFixture fixture;
  for (const char* recipe : {"static-w8a8", "channel-w8a8"}) {
    QuantizeOptions options = fixture.options(recipe);
    options.samples = 100;  // all there are: the order does not matter to absmax
    quantize(fixture.directory / "model", fixture.directory / recipe, options);
  }
  TestRuntime runtime;
  runtime.ctx.tap = &watch;
  const auto model =
      load_model(runtime.ctx, fixture.checkpoint.config, *fixture.checkpoint.source());
  const std::vector<std::int32_t> ids = random_ids(99, 400, 61);
  for (std::size_t begin = 0; begin + 33 <= ids.size(); begin += 33) {
    SequenceState state(model->state_layout());
    all_logits(runtime.ctx, *model, std::span(ids).subspan(begin, 33), state);
  }
  const Checkpoint output = open_checkpoint(fixture.directory / "static-w8a8");
  const Checkpoint channels = open_checkpoint(fixture.directory / "channel-w8a8");
  int checked = 0, by_channel = 0;
  for (const auto& [index, largest] : watch.largest) {
    const ActivationSite& site = model->layout().activations[static_cast<std::size_t>(index)];
    if (site.is_state || site.role == "lm_head.input") continue;
    const Tensor scale = output.tensors->get(site.name + "_scale");
    const Tensor each = channels.tensors->get(site.name + "_scale");
    const float most = *std::max_element(largest.begin(), largest.end());
    EXPECT_FLOAT_EQ(scale.as<float>()[0], most / 127) << site.name;
    if (each.elements() == 1) {
      EXPECT_EQ(each.as<float>()[0], scale.as<float>()[0]) << site.name;
    } else {
      ASSERT_EQ(each.elements(), std::ssize(largest)) << site.name;
      for (std::size_t c = 0; c < largest.size(); ++c) {
        EXPECT_FLOAT_EQ(each.as<float>()[c], std::max(largest[c], 1e-6f) / 127) << site.name;
      }
      ++by_channel;
    }
    ++checked;
  }
  EXPECT_EQ(checked, 18);
  EXPECT_EQ(by_channel, 10);  // conv1d.input, z, B, C and dt_proj.output of two layers
}

TEST(Quantize, SharedScalesAreTheLargestOfTheirLayer) {
  const QuantizeFixture fixture;
  const auto scale = [](const Checkpoint& checkpoint, const std::string& role) {
    return checkpoint.tensors->get(kMixer + role + "_scale").as<float>()[0];
  };
  const Checkpoint separate = open_checkpoint(fixture.run("static-w8a8", "separate"));
  const Checkpoint shared = open_checkpoint(fixture.run("quamba-w8a8", "shared"));
  EXPECT_NE(scale(separate, "conv1d.input"), scale(separate, "z"));
  const float xz = std::max(scale(separate, "conv1d.input"), scale(separate, "z"));
  EXPECT_EQ(scale(shared, "conv1d.input"), xz);
  EXPECT_EQ(scale(shared, "z"), xz);
  const float dt_B_C =
      std::max({scale(separate, "dt_proj.input"), scale(separate, "B"), scale(separate, "C")});
  for (const char* role : {"dt_proj.input", "B", "C"})
    EXPECT_EQ(scale(shared, role), dt_B_C) << role;
}

TEST(Quantize, IsReproducibleAndSeeded) {
  const QuantizeFixture fixture;
  const std::string first = directory_bytes(fixture.run("quamba-w8a8", "a"));
  EXPECT_EQ(directory_bytes(fixture.run("quamba-w8a8", "b")), first);
  QuantizeOptions options = fixture.options("quamba-w8a8");
  options.threads = 1;
  quantize(fixture.directory / "model", fixture.directory / "one", options);
  EXPECT_EQ(directory_bytes(fixture.directory / "one"), first);
  options.seed = 5;
  quantize(fixture.directory / "model", fixture.directory / "other", options);
  EXPECT_NE(read_file(fixture.directory / "other/model.safetensors"),
            read_file(fixture.directory / "a/model.safetensors"));
}

TEST(Quantize, FloatRecipesGiveFloatCheckpoints) {
  const QuantizeFixture fixture;
  const std::string output = fixture.run("bf16", "out");
  const Json config = read_json_file(output + "/config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16");
  const Checkpoint checkpoint = open_checkpoint(output);
  EXPECT_EQ(checkpoint.tensors->get(kMixer + "in_proj.weight").dtype(), DType::bf16);
  EXPECT_EQ(checkpoint.tensors->get(kMixer + "A_log").dtype(), DType::f32);
  EXPECT_NO_THROW(quantize(output, fixture.directory / "again", fixture.options("krait-w8a8")));
}

TEST(Quantize, UntiesTheHeadWhereTheRecipeDiffers) {
  const QuantizeFixture fixture;
  Json recipe = load_recipe("krait-w8a8").source;
  recipe["weights"]["embeddings"] = {{"dtype", "bf16"}};
  write_file_atomic(fixture.directory / "r.json", recipe.dump());
  const Checkpoint output = open_checkpoint(fixture.run(fixture.directory / "r.json", "out"));
  EXPECT_EQ(output.config.at("tie_word_embeddings"), false);
  EXPECT_EQ(output.tensors->get("backbone.embeddings.weight").dtype(), DType::bf16);
  EXPECT_EQ(output.tensors->get("lm_head.weight").dtype(), DType::i8);
  TestRuntime runtime;
  EXPECT_NO_THROW(load_model(runtime.ctx, output.config, *output.tensors));
}

TEST(Quantize, DropsAStoredDuplicateOfTheTable) {
  QuantizeFixture fixture;
  fixture.checkpoint.config["tie_word_embeddings"] = false;
  fixture.checkpoint.tensors["lm_head.weight"] =
      fixture.checkpoint.tensors.at("backbone.embeddings.weight");
  std::filesystem::remove_all(fixture.directory / "model");
  write_checkpoint(fixture.checkpoint, fixture.directory / "model");
  const Checkpoint output = open_checkpoint(fixture.run("krait-w8a8", "out"));
  EXPECT_FALSE(output.tensors->contains("lm_head.weight"));
  EXPECT_EQ(output.config.at("tie_word_embeddings"), true);
  TestRuntime runtime;
  EXPECT_NO_THROW(load_model(runtime.ctx, output.config, *output.tensors));
}

}  // namespace
}  // namespace krait
