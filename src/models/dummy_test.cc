// Models of published shapes with random weights.
#include "models/dummy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "krait/error.h"
#include "models/model.h"

namespace krait {
namespace {

ModelLayout describe(const char* name) {
  const DummyModel dummy = make_dummy_model(name);
  return describe_model(dummy.config, *dummy.tensors);
}

TEST(DummyModel, HasThePublishedShapeAndTheSameBytesEveryTime) {
  const DummyModel dummy = make_dummy_model("mamba-130m", 3);
  const ModelLayout layout = describe_model(dummy.config, *dummy.tensors);
  EXPECT_EQ(layout.info.parameters, 129135360);
  EXPECT_EQ(layout.info.vocab_size, 50280);
  EXPECT_EQ(layout.info.n_layers, 24);
  const std::string name = "backbone.layers.3.mixer.x_proj.weight";
  const Tensor a = dummy.tensors->get(name), b = dummy.tensors->get(name);
  EXPECT_EQ(std::memcmp(a.view().data, b.view().data, a.bytes()), 0);
  const Tensor c = make_dummy_model("mamba-130m", 4).tensors->get(name);
  EXPECT_NE(std::memcmp(a.view().data, c.view().data, a.bytes()), 0);
  double sum = 0, squares = 0;
  const Tensor values = to_f32(a.view());
  for (float x : values.as<float>()) {
    sum += x;
    squares += static_cast<double>(x) * x;
  }
  const auto n = static_cast<double>(a.elements());
  EXPECT_NEAR(sum / n, 0, 1e-4);
  EXPECT_NEAR(std::sqrt(squares / n), 1 / std::sqrt(1536), 1e-3);
  EXPECT_EQ(describe("mamba2-130m").info.parameters, 128989632);
  EXPECT_GE(dummy_names().size(), 11u);
  for (const std::string& shape : dummy_names()) {
    const DummyModel other = make_dummy_model(shape);
    EXPECT_NO_THROW(describe_model(other.config, *other.tensors)) << shape;
  }
  EXPECT_THROW(make_dummy_model("mamba-3b"), Error);
}

TEST(DummyModel, KnowsThePublishedShapesOfPythia) {
  // Parameters as arXiv 2304.01373, table 1, counts them.
  for (const auto& [name, parameters] : {std::pair{"pythia-160m", 162322944L},
                                         {"pythia-410m", 405334016L},
                                         {"pythia-1.4b", 1414647808L},
                                         {"pythia-2.8b", 2775208960L}}) {
    const DummyModel dummy = make_dummy_model(name);
    EXPECT_EQ(describe_model(dummy.config, *dummy.tensors).info.parameters, parameters) << name;
  }
}

}  // namespace
}  // namespace krait
