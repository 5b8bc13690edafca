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
  Context tapped{runtime.pool, runtime.ctx.kernels, runtime.arena, &whole};
  model->forward(tapped, batch, LogitRows::none, nullptr);
  std::set<std::string> expected;
  for (const LinearSite& site : model->layout().linears) {
    if (site.input_site >= 0) expected.insert(site.tied_to.empty() ? site.name : site.tied_to);
  }
  EXPECT_EQ(whole.products, expected);

  for (const std::vector<int>& ends :
       {std::vector<int>{layers + 1}, {1, layers, layers + 1}, {layers - 1, layers + 1}}) {
    std::vector<float> residual(ids.size() * static_cast<std::size_t>(model->info().d_model));
    HeadTap part(model->layout());
    Context watched{runtime.pool, runtime.ctx.kernels, runtime.arena, &part};
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
                   : GetParam() == "jamba"      ? jamba
                                                : std::set<std::string>{"out_proj"});
}

INSTANTIATE_TEST_SUITE_P(Families, Layers,
                         testing::Values("mamba", "mamba2", "neox", "serial_neox", "jamba"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace krait
