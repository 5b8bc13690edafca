// Parts of the forward pass, for those who calibrate layer by layer.
#include "models/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "models/test_attention.h"
#include "models/test_support.h"

namespace krait {
namespace {

/// The head's input, and the names of the products that ran before it.
class HeadTap final : public Tap {
 public:
  explicit HeadTap(const ModelLayout& layout) : site_(layout.linears.back().input_site) {}
  void observe(int site, const Activation& value) override {
    if (site != site_) return;
    for (std::int64_t t = 0; t < value.rows; ++t) {
      values.insert(values.end(), value.f32(t), value.f32(t) + value.cols);
    }
  }
  void product(const Weight& weight, const Activation&) override {
    if (!weight.name.empty()) products.insert(weight.name);
  }
  std::vector<float> values;
  std::set<std::string> products;

 private:
  int site_;
};

class Layers : public testing::TestWithParam<std::string> {
 protected:
  TestCheckpoint checkpoint() const {
    if (GetParam() == "neox") return tiny_neox();
    if (GetParam() == "serial_neox") return tiny_neox({.parallel = false, .tied = true});
    if (GetParam() == "jamba") return tiny_jamba();
    if (GetParam() == "bamba") return tiny_bamba();
    return GetParam() == "mamba2" ? tiny_mamba2() : tiny_mamba();
  }
};

TEST_P(Layers, ChainToTheForwardPass) {
  const TestCheckpoint made = checkpoint();
  const auto source = made.source();
  TestRuntime runtime;
  const auto model = load_model(runtime.ctx, made.config, *source);
  const auto layers = static_cast<int>(model->info().n_layers);
  const std::vector<std::int32_t> ids = random_ids(1, 23, 61);
  const std::int32_t bounds[] = {0, 23};
  SequenceState state(model->state_layout());
  SequenceState* const states[] = {&state};
  const Batch batch{ids, bounds, states};

  HeadTap whole(model->layout());
  Context tapped = runtime.ctx;
  tapped.tap = &whole;
  model->forward(tapped, batch, nullptr);
  std::set<std::string> expected;
  for (const LinearSite& site : model->layout().linears) {
    if (site.input_site >= 0) expected.insert(site.tied_to.empty() ? site.name : site.tied_to);
  }
  EXPECT_EQ(whole.products, expected);

  for (const std::vector<int>& ends :
       {std::vector<int>{layers + 1}, {1, layers, layers + 1}, {layers - 1, layers + 1}}) {
    std::vector<float> residual(ids.size() * static_cast<std::size_t>(model->info().d_model));
    HeadTap part(model->layout());
    Context watched = runtime.ctx;
    watched.tap = &part;
    int begin = 0;
    for (const int end : ends) {
      state.reset();
      model->forward_layers(watched, batch, begin, end, residual.data());
      begin = end;
    }
    EXPECT_EQ(part.values, whole.values);
    EXPECT_EQ(part.products, expected);
  }
}

TEST_P(Layers, SayWhatAddsToTheResidual) {
  const TestCheckpoint made = checkpoint();
  std::set<std::string> roles;
  for (const LinearSite& site : describe_model(made.config, *made.source()).linears) {
    if (site.adds_to_residual) roles.insert(site.role);
  }
  const std::set<std::string> neox = {"dense", "dense_4h_to_h"};
  const std::set<std::string> jamba = {"down_proj", "o_proj", "out_proj"};
  EXPECT_EQ(roles, GetParam().ends_with("neox") ? neox
                   : GetParam().ends_with("amba") && GetParam() != "mamba"
                       ? jamba
                       : std::set<std::string>{"out_proj"});
}

// ---- what a config can say and no family here does
// ------------------------------------------------

/// Logits of a decoder made by hand.
std::vector<float> logits_of(const DecoderConfig& config,
                             const std::map<std::string, Tensor>& tensors) {
  TestRuntime runtime(select_isa());
  const auto source = make_memory_source({tensors.begin(), tensors.end()});
  const Decoder model(runtime.ctx, config, describe_decoder(config), {}, *source, {}, {});
  SequenceState state(model.state_layout());
  return all_logits(runtime.ctx, model, random_ids(7, 29, config.ends.vocab_rows), state);
}

void multiply(Tensor& tensor, float factor) {
  for (float& x : tensor.mutable_as<float>()) x *= factor;
}

TEST(DecoderConfig, ScalesAreThoseOfTheWeights) {
  const TestCheckpoint made = tiny_mamba({.tied = false});
  const DecoderConfig plain = read_decoder(made);
  DecoderConfig scaled = plain;
  scaled.ends.embedding_scale = 4;
  scaled.ends.logit_scale = 0.25f;
  for (Block& block : scaled.blocks) block.branches.front().scale = 0.5f;
  std::map<std::string, Tensor> weights;  // powers of two: every bit is the same
  for (const auto& [name, tensor] : made.tensors) {
    Tensor& copy = weights[name] = test_tensor(tensor.shape(), tensor.as<float>());
    if (name == "backbone.embeddings.weight") multiply(copy, 4);
    if (name == "lm_head.weight") multiply(copy, 0.25f);
    if (name.ends_with("out_proj.weight")) multiply(copy, 0.5f);
  }
  EXPECT_EQ(logits_of(scaled, made.tensors), logits_of(plain, weights));
  EXPECT_NE(logits_of(scaled, made.tensors), logits_of(plain, made.tensors));
}

TEST(DecoderConfig, BranchesSideBySideReadTheSameResidual) {
  TestCheckpoint made = tiny_jamba({.experts = 1});
  DecoderConfig config = read_decoder(made);
  for (Block& block : config.blocks) block.parallel = true;
  const std::vector<float> logits = logits_of(config, made.tensors);
  EXPECT_NE(logits, logits_of(read_decoder(made), made.tensors));
  for (Block& block : config.blocks) std::swap(block.branches[0], block.branches[1]);
  EXPECT_EQ(logits_of(config, made.tensors), logits);
  // A branch that adds nothing could as well not be there.
  DecoderConfig alone = read_decoder(made);
  for (Block& block : alone.blocks) {
    const std::string down = block.branches[1].prefix + "down_proj.weight";
    multiply(made.tensors.at(down), 0);
    block.branches.pop_back();
  }
  std::map<std::string, Tensor> fewer;
  for (const auto& [name, tensor] : made.tensors) {
    if (name.find("feed_forward") == std::string::npos) fewer[name] = tensor;
  }
  EXPECT_EQ(logits_of(config, made.tensors), logits_of(alone, fewer));
}

TEST(DecoderConfig, BranchesCanShareTheirWeights) {
  const TestCheckpoint made = tiny_jamba({.layers = 2, .experts = 1});
  const DecoderConfig whole = read_decoder(made);
  DecoderConfig twice = whole, copied = whole;
  std::map<std::string, Tensor> tensors = made.tensors;
  for (const Block& block : whole.blocks) {
    Block& shared = twice.blocks.emplace_back(block);
    Block& copy = copied.blocks.emplace_back(block);
    for (std::size_t b = 0; b < block.branches.size(); ++b) {
      shared.branches[b].sites = "again." + block.branches[b].prefix;
      copy.branches[b].prefix = "copy." + block.branches[b].prefix;
      for (const auto& [name, tensor] : made.tensors) {
        if (name.starts_with(block.branches[b].prefix)) tensors["copy." + name] = tensor;
      }
    }
  }
  EXPECT_EQ(logits_of(twice, made.tensors), logits_of(copied, tensors));
  EXPECT_EQ(describe_decoder(twice).linears.size(), describe_decoder(whole).linears.size());
  EXPECT_EQ(describe_state(twice, {}).buffers.size(), 2 * describe_state(whole, {}).buffers.size());
}

TEST_P(Layers, StatesAreThoseOfTheConfigAlone) {
  const TestCheckpoint made = checkpoint();
  TestRuntime runtime;
  const auto source = made.source();
  const auto model = load_model(runtime.ctx, made.config, *source);
  const StateLayout told = state_layout_of(made.config, *source);
  EXPECT_EQ(told.bytes, model->state_layout()->bytes);
  EXPECT_EQ(told.bytes_per_token, model->state_layout()->bytes_per_token);
}

INSTANTIATE_TEST_SUITE_P(Families, Layers,
                         testing::Values("mamba", "mamba2", "neox", "serial_neox", "jamba",
                                         "bamba"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace krait
