// What must not change a single bit of the logits: how the prompt is cut, the number of threads,
// the instruction set, and who else is in the batch. And the state as a value.
#include <gtest/gtest.h>

#include <cstring>

#include "models/test_int8.h"
#include "models/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kTokens = 45;
const TinyMamba kSizes{.V = 61, .D = 40, .E = 72, .N = 7, .R = 5};

struct Case {
  std::string name;
  TestCheckpoint checkpoint;
  bool any_chunks;  ///< the scales do not span tokens
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    const TestCheckpoint base = tiny_mamba(kSizes);
    const auto ids = random_ids(4, kTokens, kSizes.V);
    std::vector<Case> list{{"f32", base, true}};
    TinyMamba half = kSizes;
    half.dtype = DType::bf16;
    list.push_back({"bf16", tiny_mamba(half), true});
    for (const HandScheme scheme :
         {HandScheme::static_tensor, HandScheme::dynamic_token, HandScheme::dynamic_tensor}) {
      for (const bool rotate : {false, true}) {
        list.push_back({std::string(name_of(scheme)) + (rotate ? "_rotated" : ""),
                        quantize_by_hand(base, scheme, ids, rotate),
                        scheme != HandScheme::dynamic_tensor});
      }
    }
    // Static with an int8 state and scales per channel where kernels take them.
    TestCheckpoint channels = quantize_by_hand(base, HandScheme::static_tensor, ids);
    Json& activations = channels.config["quantization_config"]["krait"]["activations"];
    for (const char* role : {"conv1d.input", "z", "B", "C", "dt_proj.output", "ssm_state"}) {
      activations[role] = {{"bits", 8}, {"type", "int"}, {"strategy", "channel"}};
    }
    Rng rng(8);
    for (const ActivationSite& site : describe_model(base.config, *base.source()).activations) {
      if (activations[site.role].value("strategy", "") != "channel") continue;
      std::vector<float> scale(static_cast<std::size_t>(site.channels));
      for (float& s : scale) s = static_cast<float>(0.01 + 0.05 * rng.uniform());
      channels.tensors[site.name + "_scale"] = test_tensor({site.channels}, scale);
    }
    list.push_back({"static_channel", channels, true});
    return list;
  }();
  return all;
}

struct Loaded {
  Loaded(const TestCheckpoint& checkpoint, Isa isa, int threads)
      : runtime(isa, threads),
        model(load_model(runtime.ctx, checkpoint.config, *checkpoint.source())) {}
  explicit Loaded(const TestCheckpoint& checkpoint) : Loaded(checkpoint, select_isa(), 2) {}
  SequenceState new_state() const { return SequenceState(model->state_layout()); }
  std::vector<float> logits(std::span<const std::int32_t> ids) {
    SequenceState state = new_state();
    return all_logits(runtime.ctx, *model, ids, state);
  }
  TestRuntime runtime;
  std::unique_ptr<Model> model;
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

class Mamba1Bits : public testing::TestWithParam<std::size_t> {
 protected:
  const Case& model_case() const { return cases()[GetParam()]; }
  std::vector<std::int32_t> ids_ = random_ids(5, kTokens, kSizes.V);
};

TEST_P(Mamba1Bits, ThreadsAndInstructionSetsChangeNothing) {
  const TestCheckpoint& checkpoint = model_case().checkpoint;
  const std::vector<float> expected = Loaded(checkpoint, Isa::reference, 1).logits(ids_);
  for (const Isa isa : all_isas()) {
    if (!cpu_supports(isa)) continue;
    for (const int threads : {1, 2, 5}) {
      EXPECT_TRUE(same_bits(Loaded(checkpoint, isa, threads).logits(ids_), expected))
          << name_of(isa) << ", " << threads << " threads";
    }
  }
}

TEST_P(Mamba1Bits, ChunksChangeNothing) {
  if (!model_case().any_chunks) {  // then only the same chunks give the same bits
    Loaded loaded(model_case().checkpoint);
    EXPECT_TRUE(same_bits(loaded.logits(ids_), loaded.logits(ids_)));
    return;
  }
  Loaded loaded(model_case().checkpoint);
  const std::vector<float> expected = loaded.logits(ids_);
  SequenceState whole = loaded.new_state();
  all_logits(loaded.runtime.ctx, *loaded.model, ids_, whole);
  for (const std::size_t chunk : {1u, 2u, 3u, 16u, 44u}) {
    SequenceState state = loaded.new_state();
    std::vector<float> logits;
    for (std::size_t first = 0; first < ids_.size(); first += chunk) {
      const std::size_t count = std::min(chunk, ids_.size() - first);
      const auto part = all_logits(loaded.runtime.ctx, *loaded.model,
                                   std::span(ids_).subspan(first, count), state);
      logits.insert(logits.end(), part.begin(), part.end());
    }
    EXPECT_TRUE(same_bits(logits, expected)) << "chunks of " << chunk;
    EXPECT_EQ(std::memcmp(state.buffer(0), whole.buffer(0), whole.bytes()), 0) << chunk;
  }
}

TEST_P(Mamba1Bits, LastAndNoLogitsAgreeWithAll) {
  Loaded loaded(model_case().checkpoint);
  const std::vector<float> all = loaded.logits(ids_);
  SequenceState state = loaded.new_state(), silent = loaded.new_state();
  SequenceState* states[] = {&state};
  const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(ids_.size())};
  const auto rows = static_cast<std::size_t>(kSizes.V);
  std::vector<float> last(rows);
  loaded.model->forward(loaded.runtime.ctx, {ids_, cu_seqlens, states}, LogitRows::last,
                        last.data());
  if (model_case().any_chunks) {  // a scale over the last rows alone is another one
    EXPECT_TRUE(same_bits(last, std::span(all).last(rows)));
  }
  states[0] = &silent;
  loaded.model->forward(loaded.runtime.ctx, {ids_, cu_seqlens, states}, LogitRows::none, nullptr);
  EXPECT_EQ(std::memcmp(silent.buffer(0), state.buffer(0), state.bytes()), 0);
}

TEST_P(Mamba1Bits, BatchesChangeNothing) {
  if (!model_case().any_chunks) {  // a batch of one is the sequence itself
    Loaded loaded(model_case().checkpoint);
    EXPECT_EQ(loaded.logits(ids_).size(), ids_.size() * static_cast<std::size_t>(kSizes.V));
    return;
  }
  Loaded loaded(model_case().checkpoint);
  const auto other = random_ids(6, 20, kSizes.V);
  SequenceState a = loaded.new_state(), b = loaded.new_state(), c = loaded.new_state();
  std::vector<std::int32_t> ids = ids_;
  ids.insert(ids.end(), other.begin(), other.end());
  ids.push_back(3);
  const std::int32_t cu_seqlens[] = {0, 45, 65, 66};
  SequenceState* states[] = {&a, &b, &c};
  std::vector<float> together(ids.size() * static_cast<std::size_t>(kSizes.V));
  loaded.model->forward(loaded.runtime.ctx, {ids, cu_seqlens, states}, LogitRows::all,
                        together.data());
  std::vector<float> alone;
  for (const auto& sequence : {ids_, other, std::vector<std::int32_t>{3}}) {
    const auto part = loaded.logits(sequence);
    alone.insert(alone.end(), part.begin(), part.end());
  }
  EXPECT_TRUE(same_bits(together, alone));
  EXPECT_EQ(b.position(), 20);

  // And the last rows of a decode step of all three.
  const std::int32_t step[] = {7, 8, 9}, step_lens[] = {0, 1, 2, 3};
  SequenceState fork = b;
  std::vector<float> rows(3 * static_cast<std::size_t>(kSizes.V));
  loaded.model->forward(loaded.runtime.ctx, {step, step_lens, states}, LogitRows::last,
                        rows.data());
  const auto single =
      all_logits(loaded.runtime.ctx, *loaded.model, std::span(step, 3).subspan(1, 1), fork);
  EXPECT_TRUE(same_bits(std::span(rows).subspan(static_cast<std::size_t>(kSizes.V),
                                                static_cast<std::size_t>(kSizes.V)),
                        single));
}

TEST_P(Mamba1Bits, SavedAndForkedStatesContinueAlike) {
  Loaded loaded(model_case().checkpoint);
  const auto head = std::span(ids_).first(20), tail = std::span(ids_).subspan(20);
  SequenceState state = loaded.new_state();
  all_logits(loaded.runtime.ctx, *loaded.model, head, state);
  SequenceState fork = state;
  Loaded elsewhere(model_case().checkpoint);  // loaded once more, as another process would
  SequenceState restored =
      SequenceState::deserialize(state.serialize(), elsewhere.model->state_layout());
  const auto expected = all_logits(loaded.runtime.ctx, *loaded.model, tail, state);
  EXPECT_TRUE(same_bits(all_logits(loaded.runtime.ctx, *loaded.model, tail, fork), expected));
  EXPECT_TRUE(
      same_bits(all_logits(elsewhere.runtime.ctx, *elsewhere.model, tail, restored), expected));
  EXPECT_EQ(restored.position(), kTokens);
}

INSTANTIATE_TEST_SUITE_P(Numerics, Mamba1Bits, testing::Range(std::size_t{0}, std::size_t{9}),
                         [](const auto& test) { return cases()[test.param].name; });

TEST(Mamba1Fingerprint, TellsModelsApart) {
  const TestCheckpoint base = tiny_mamba(kSizes);
  const auto fingerprint = [](const TestCheckpoint& checkpoint) {
    return Loaded(checkpoint).model->state_layout()->fingerprint;
  };
  const std::string original = fingerprint(base);
  EXPECT_EQ(original.size(), 16u);
  EXPECT_EQ(fingerprint(base), original);
  TinyMamba other = kSizes;
  other.seed = 99;
  EXPECT_NE(fingerprint(tiny_mamba(other)), original);
  TestCheckpoint eps = base;
  eps.config["layer_norm_epsilon"] = 1e-6;
  EXPECT_NE(fingerprint(eps), original);
  EXPECT_NE(fingerprint(cases()[2].checkpoint), fingerprint(cases()[4].checkpoint));
}

}  // namespace
}  // namespace krait
