// Models whose products and tables are stored as codes.
#include <gtest/gtest.h>

#include <cstdlib>

#include "krait/error.h"
#include "models/test_attention.h"
#include "models/test_codes.h"

namespace krait {
namespace {

constexpr std::int64_t kVocab = 61;  // odd: half of the last pair of rows is missing

struct Family {
  const char* name;
  TestCheckpoint checkpoint;
  int matrices;  ///< that have a multiple of 16 columns
};

std::vector<Family> families() {
  TinyMamba mamba{.V = kVocab, .D = 48, .E = 80};
  TinyMamba2 mamba2{.V = kVocab, .D = 48, .H = 6, .P = 16};
  const TinyJamba jamba{.V = kVocab, .D = 48, .F = 32};
  TinyNeox neox{.V = kVocab, .D = 32, .heads = 2, .F = 64};
  std::vector<Family> all;
  for (const bool tied : {true, false}) {
    mamba.tied = mamba2.tied = neox.tied = tied;
    const int ends = tied ? 1 : 2;
    all.push_back({"mamba", tiny_mamba(mamba), ends + 2 * 3});  // dt_proj has 3 columns
    all.push_back({"mamba2", tiny_mamba2(mamba2), ends + 2 * 2});
    all.push_back({"neox", tiny_neox(neox), ends + 2 * 4});
  }
  // Attention, three mixers, two layers of 3 experts and a router, two of one expert.
  all.push_back({"jamba", tiny_jamba(jamba), 2 + 4 + 3 * 3 + 2 * (3 * 3 + 1) + 2 * 3});
  return all;
}

// The products of the twin widen the same integers to f32: all that differs is how they round.
TEST(Codes, EveryFamilyGivesWhatTheMatricesGiveThatTheyStandFor) {
  const auto ids = random_ids(3, 40, kVocab);
  for (const Family& family : families()) {
    const CodedCheckpoint made = code_by_hand(family.checkpoint, ids);
    EXPECT_EQ(made.matrices, family.matrices) << family.name;
    const std::vector<float> expected = logits_of(made.twin, ids);
    EXPECT_LT(relative_error(logits_of(made.coded, ids), expected), 0.01) << family.name;
  }
}

// Experts that are packed on the way give the bits of packed ones.
TEST(Codes, MappedExpertsGiveTheBitsOfPackedOnes) {
  const auto ids = random_ids(3, 40, kVocab);
  const CodedCheckpoint made = code_by_hand(tiny_jamba({.V = kVocab, .D = 48, .F = 32}), ids);
  const std::string expert = "model.layers.1.feed_forward.experts.0.up_proj.weight_codes";
  ASSERT_TRUE(made.coded.tensors.contains(expert));
  const std::vector<float> mapped = logits_of(made.coded, ids, {.packs_experts = false});
  EXPECT_EQ(mapped, logits_of(made.coded, ids, {.packs_experts = true}));
}

TEST(Codes, CountAsTheBytesThatTheyTake) {
  const auto ids = random_ids(3, 20, kVocab);
  const TinyMamba sizes{.V = kVocab, .D = 64, .E = 128, .layers = 1};
  const CodedCheckpoint made = code_by_hand(tiny_mamba(sizes), ids);
  TestRuntime runtime;
  const auto coded = load_model(runtime.ctx, made.coded.config, *made.coded.source());
  const auto twin = load_model(runtime.ctx, made.twin.config, *made.twin.source());
  // in_proj of 3 bits, x_proj of 4, out_proj of 2, the head of 2; scales are half a bit; 16 rows
  // at a time.
  const double f32 = 4.0 * (256 * 64 + 13 * 128 + 64 * 128 + 61 * 64);
  const double codes = (256 * 64 * 3.5 + 16 * 128 * 4.5 + 64 * 128 * 2.5 + 64 * 64 * 2.5) / 8;
  const double less = static_cast<double>(twin->weight_bytes() - coded->weight_bytes());
  EXPECT_EQ(less, f32 - codes);
}

// ---- what is refused --------------------------------------------------------------------------

const std::string kName = "backbone.layers.0.mixer.in_proj.weight";

/// in_proj of layer 0: [96, 48] in groups of 16, 2 bits.
TestCheckpoint coded_in_proj() {
  const auto ids = random_ids(3, 20, kVocab);
  const TestCheckpoint original = tiny_mamba({.V = kVocab, .D = 48, .E = 48});
  TestCheckpoint result = quantize_by_hand(original, HandScheme::dynamic_token, ids);
  Rng rng(1);
  for (const LinearSite& site : describe_model(original.config, *original.source()).linears) {
    if (site.name + ".weight" == kName) random_codes(result, site, 2, rng);
  }
  return result;
}

void expect_refused(const TestCheckpoint& checkpoint, const std::string& words,
                    ErrorCode code = ErrorCode::bad_data) {
  TestRuntime runtime;
  try {
    load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
    ADD_FAILURE() << "accepted, expected: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << words << "\n"
                                                                        << error.what();
  }
}

TEST(Codes, ThatDoNotFitAreRefused) {
  TestRuntime runtime;
  const TestCheckpoint good = coded_in_proj();
  EXPECT_NO_THROW(load_model(runtime.ctx, good.config, *good.source()));
  TestCheckpoint narrow = good;
  narrow.tensors[kName + "_shape"] = Tensor(DType::i32, {2});
  narrow.tensors[kName + "_shape"].mutable_as<std::int32_t>()[0] = 96;
  narrow.tensors[kName + "_shape"].mutable_as<std::int32_t>()[1] = 48;
  EXPECT_NO_THROW(load_model(runtime.ctx, narrow.config, *narrow.source()));
  const auto refused = [&](const char* part, const Tensor& tensor, const std::string& words) {
    TestCheckpoint checkpoint = good;
    checkpoint.tensors[kName + part] = tensor;
    expect_refused(checkpoint, words);
  };
  const std::string shapes =
      "in_proj.weight_codes should be [48, 24], [48, 36] or [48, 48] (2, 3 or 4 bits a weight) "
      "but is ";
  refused("_codes", Tensor(DType::u8, {48, 25}), shapes + "[48, 25]");
  refused("_codes", Tensor(DType::u8, {96, 24}), shapes + "[96, 24]");
  refused("_codes", Tensor(DType::u8, {48 * 24}), shapes + "[1152]");
  refused("_codes", Tensor(DType::i8, {48, 24}), "_codes should be U8 but is I8");
  refused("_table", Tensor(DType::i8, {16}), "_table should be [64] but is [16]");
  refused("_table", Tensor(DType::u8, {64}), "_table should be I8 but is U8");
  Tensor low(DType::i8, {64});
  low.mutable_as<std::int8_t>()[5] = -128;
  refused("_table", low, "expected a table of values in [-127, 127], got -128 at 5");
  const std::vector<float> ones(96 * 6, 1.0F);
  const auto scales = [&](const Shape& shape, DType dtype = DType::bf16) {
    return test_tensor(shape, std::span(ones).first(static_cast<std::size_t>(shape.elements())),
                       dtype);
  };
  refused("_scale", scales({96, 6}),
          "_scale should be [96, groups], groups of a multiple of 16 of its 48 columns, but is "
          "[96, 6]");
  refused("_scale", scales({48, 3}), "but is [48, 3]");
  refused("_scale", scales({96}), "but is [96]");
  refused("_scale", scales({96, 3}, DType::f32), "_scale should be BF16 but is F32");
  std::vector<float> values(96 * 3, 1.0F);
  values[7] = -1;
  refused("_scale", test_tensor({96, 3}, values, DType::bf16),
          "in_proj.weight_scale [96, 3] holds");
  Tensor shape(DType::i64, {2});
  refused("_shape", shape, "_shape should say [96, 48] but says [0, 0]");
  refused("_shape", Tensor(DType::i64, {3}), "_shape should be [2] but is [3]");
  refused("_shape", Tensor(DType::f32, {2}), "_shape should be I64 or I32 but is F32");
  for (const char* part : {"_table", "_scale", "_shape"}) {
    TestCheckpoint checkpoint = good;
    checkpoint.tensors.erase(kName + part);
    expect_refused(checkpoint, kName + part);
  }
  TestCheckpoint both = good;
  both.tensors[kName] = Tensor(DType::f32, {96, 48});
  expect_refused(both, "in_proj.weight_codes [48, 24] is not used");
}

TEST(Codes, OfColumnsThatFillNoWordsAreRefused) {
  TestCheckpoint checkpoint = tiny_mamba({.V = kVocab, .D = 40, .E = 48});
  checkpoint.tensors.erase(kName);
  Tensor shape(DType::i64, {2});
  shape.mutable_as<std::int64_t>()[0] = 96;
  shape.mutable_as<std::int64_t>()[1] = 40;
  checkpoint.tensors[kName + "_codes"] = Tensor(DType::u8, {48, 20});
  checkpoint.tensors[kName + "_shape"] = shape;
  expect_refused(checkpoint, "codes need a multiple of 16 columns but " +
                                 kName.substr(0, kName.size() - 7) + " has 40");
}

TEST(Codes, WithInputsThatNoKernelTakesAreRefused) {
  TestCheckpoint checkpoint = coded_in_proj();
  Json& activations = checkpoint.config["quantization_config"]["krait"]["activations"];
  activations["in_proj.input"]["outlier_threshold"] = 3.0;
  expect_refused(checkpoint, "in_proj.weight is stored as codes but", ErrorCode::unsupported);
  activations.erase("in_proj.input");
  for (const int layer : {0, 1}) {  // the other layer's are int8, which would be refused too
    const std::string name = "backbone.layers." + std::to_string(layer) + ".mixer.in_proj.weight";
    if (!checkpoint.tensors.contains(name)) continue;
    checkpoint.tensors[name] = Tensor(DType::f32, {96, 48});
    checkpoint.tensors.erase(name + "_scale");
  }
  expect_refused(checkpoint, "leaves its input in float", ErrorCode::unsupported);
}

}  // namespace
}  // namespace krait
