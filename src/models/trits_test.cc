// Models whose products are stored as ternary digits.
#include <gtest/gtest.h>

#include "core/trits.h"
#include "krait/error.h"
#include "models/test_attention.h"
#include "models/test_codes.h"

namespace krait {
namespace {

constexpr std::int64_t kVocab = 61;

struct TernaryCheckpoint {
  TestCheckpoint trits;
  TestCheckpoint twin;  ///< the same as int8 with a scale for each row, which is bf16 there too
  int matrices = 0;
};

/// int8 with dynamic scales per token, all products and the table in ternary digits with a scale
/// for each row.
TernaryCheckpoint ternary_by_hand(const TestCheckpoint& original) {
  TernaryCheckpoint result;
  result.trits = quantize_by_hand(original, HandScheme::dynamic_token, random_ids(3, 20, kVocab));
  result.twin = result.trits;
  Rng rng(5);
  for (const LinearSite& site : describe_model(original.config, *original.source()).linears) {
    if (!site.tied_to.empty()) continue;
    const std::string name = site.name + ".weight";
    Tensor digits(DType::i8, {site.rows, site.cols});
    Tensor trits(DType::u8, {trit_bytes(site.rows * site.cols)});
    Tensor wide(DType::f32, {site.rows, 1}), narrow(DType::bf16, {site.rows, 1});
    Tensor shape(DType::i64, {2});
    shape.mutable_as<std::int64_t>()[0] = site.rows;
    shape.mutable_as<std::int64_t>()[1] = site.cols;
    for (std::int8_t& d : digits.mutable_as<std::int8_t>()) {
      d = static_cast<std::int8_t>(static_cast<int>(rng.below(3)) - 1);
    }
    pack_trits(digits.as<std::int8_t>(), trits.mutable_as<std::uint8_t>());
    for (std::int64_t r = 0; r < site.rows; ++r) {
      const double step = (0.5 + rng.uniform()) / std::sqrt(static_cast<double>(site.cols));
      const std::uint16_t scale = f32_to_bf16(static_cast<float>(step));
      narrow.mutable_as<std::uint16_t>()[static_cast<std::size_t>(r)] = scale;
      wide.mutable_as<float>()[static_cast<std::size_t>(r)] = bf16_to_f32(scale);
    }
    for (TestCheckpoint* both : {&result.trits, &result.twin}) {
      both->tensors.erase(name);
      both->tensors.erase(name + "_scale");
    }
    result.trits.tensors[name + "_trits"] = trits;
    result.trits.tensors[name + "_scale"] = narrow;
    result.trits.tensors[name + "_shape"] = shape;
    result.twin.tensors[name] = digits;
    result.twin.tensors[name + "_scale"] = wide;
    ++result.matrices;
  }
  return result;
}

// Sums of integers below 2^24 are floats exactly, so codes and int8 round alike but for the order
// of the two scales; dt_proj (3 columns) is int8 in both.
TEST(Trits, EveryFamilyGivesWhatInt8DigitsGive) {
  const auto ids = random_ids(3, 40, kVocab);
  for (const bool tied : {true, false}) {
    TinyMamba mamba{.V = kVocab, .D = 48, .E = 80};
    TinyMamba2 mamba2{.V = kVocab, .D = 48, .H = 6, .P = 16};
    mamba.tied = mamba2.tied = tied;
    for (const TestCheckpoint& checkpoint : {tiny_mamba(mamba), tiny_mamba2(mamba2)}) {
      const TernaryCheckpoint made = ternary_by_hand(checkpoint);
      EXPECT_GE(made.matrices, 5);
      EXPECT_LT(relative_error(logits_of(made.trits, ids), logits_of(made.twin, ids)), 1e-5);
    }
  }
}

// A row of 2,080 columns has one scale and five groups of codes.
TEST(Trits, RowsMayBeWiderThanAGroup) {
  const auto ids = random_ids(3, 10, kVocab);
  const TernaryCheckpoint made =
      ternary_by_hand(tiny_mamba({.V = kVocab, .D = 2080, .E = 16, .layers = 1}));
  EXPECT_LT(relative_error(logits_of(made.trits, ids), logits_of(made.twin, ids)), 1e-5);
}

void expect_refused(const TestCheckpoint& checkpoint, const std::string& words) {
  TestRuntime runtime;
  try {
    load_model(runtime.ctx, checkpoint.config, *checkpoint.source());
    ADD_FAILURE() << "accepted, expected: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_data) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << words << "\n"
                                                                        << error.what();
  }
}

TEST(Trits, ThatDoNotFitAreRefused) {
  const TestCheckpoint good = ternary_by_hand(tiny_mamba({.V = kVocab, .D = 48, .E = 48})).trits;
  const std::string mixer = "backbone.layers.0.mixer.", in = mixer + "in_proj.weight",
                    dt = mixer + "dt_proj.weight";  // [96, 48], [48, 3]
  TestRuntime runtime;
  EXPECT_NO_THROW(load_model(runtime.ctx, good.config, *good.source()));
  const auto refused = [&](const std::string& name, const Tensor& tensor,
                           const std::string& words) {
    TestCheckpoint checkpoint = good;
    checkpoint.tensors[name] = tensor;
    expect_refused(checkpoint, words);
  };
  refused(in + "_trits", Tensor(DType::u8, {96, 10}), "_trits should be [922] but is [96, 10]");
  refused(in + "_trits", Tensor(DType::i8, {922}), "_trits should be U8 but is I8");
  const Tensor& trits = good.tensors.at(in + "_trits");
  Tensor large(DType::u8, trits.shape()), beyond(DType::u8, trits.shape());
  std::ranges::copy(trits.as<std::uint8_t>(), large.mutable_as<std::uint8_t>().begin());
  std::ranges::copy(trits.as<std::uint8_t>(), beyond.mutable_as<std::uint8_t>().begin());
  large.mutable_as<std::uint8_t>()[20] = 243;
  beyond.mutable_as<std::uint8_t>()[921] = 0;  // 4,608 digits leave two places of the last byte
  for (const Tensor& bad : {large, beyond}) {
    refused(in + "_trits", bad, "at most 242, and zeros beyond the 4608 of the matrix");
  }
  const std::vector<float> ones(96 * 6, 1.0F);
  const auto scales = [&](const Shape& shape, DType dtype = DType::bf16) {
    return test_tensor(shape, std::span(ones).first(static_cast<std::size_t>(shape.elements())),
                       dtype);
  };
  refused(in + "_scale", scales({96, 6}), "groups of a multiple of 16 of its 48 columns");
  refused(in + "_scale", scales({96, 1}, DType::f32), "_scale should be BF16 but is F32");
  refused(dt + "_scale", scales({48, 3}), "groups of a multiple of 3 of its 3 columns");
  Tensor shape(DType::i64, {2});
  refused(in + "_shape", shape, "_shape should say [96, 48] but says [0, 0]");
  for (const std::int64_t dim : {std::int64_t{-1}, std::int64_t{1} << 40, INT64_MAX}) {
    for (const std::string& matrix : {in, std::string("backbone.embeddings.weight")}) {
      Tensor wild(DType::i64, {2});
      wild.mutable_as<std::int64_t>()[0] = wild.mutable_as<std::int64_t>()[1] = dim;
      TestCheckpoint checkpoint = good;
      checkpoint.tensors[matrix + "_shape"] = wild;
      EXPECT_THROW(load_model(runtime.ctx, checkpoint.config, *checkpoint.source()), Error);
    }
  }
  for (const char* part : {"_scale", "_shape"}) {
    TestCheckpoint checkpoint = good;
    checkpoint.tensors.erase(in + part);
    expect_refused(checkpoint, in + part);
  }
  refused(in, Tensor(DType::f32, {96, 48}), "in_proj.weight_trits [922] is not used");
}

}  // namespace
}  // namespace krait
