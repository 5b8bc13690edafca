#include "quant/selector.h"

#include <gtest/gtest.h>

#include "io/test_support.h"
#include "models/test_attention.h"
#include "quant/test_support.h"

namespace krait {
namespace {

ModelLayout jamba() { return layout_of(tiny_jamba({.D = 48, .heads = 4, .F = 80})); }

Recipe recipe_of(Json keys) {
  keys["name"] = "r";
  return parse_recipe(keys, "r.json");
}

std::string format_of(const Recipe& fitted, const std::string& role) {
  const auto rule = fitted.weights.find(role);
  return rule == fitted.weights.end() ? "float" : format_name(rule->second.args);
}

TEST(Selector, TheNarrowestWins) {
  Json weights = {{"*", "int8/tensor"}};
  const auto formats = [&] {
    const Recipe fitted =
        fit_recipe(recipe_of({{"weights", weights}, {"round", "nearest"}}), jamba());
    return std::vector<std::string>{format_of(fitted, "in_proj"), format_of(fitted, "q_proj"),
                                    format_of(fitted, "A_log"), format_of(fitted, "embeddings")};
  };
  using Formats = std::vector<std::string>;
  EXPECT_EQ(formats(), (Formats{"int8/tensor", "int8/tensor", "int8/tensor", "int8/tensor"}));
  weights["product"] = "int8/channel";
  EXPECT_EQ(formats(), (Formats{"int8/channel", "int8/channel", "int8/tensor", "int8/tensor"}));
  weights["attention.product"] = "int4/group64";
  EXPECT_EQ(formats(), (Formats{"int8/channel", "int4/group64", "int8/tensor", "int8/tensor"}));
  weights["q_proj"] = "int4/group32";
  EXPECT_EQ(formats(), (Formats{"int8/channel", "int4/group32", "int8/tensor", "int8/tensor"}));
  weights["attention.q_proj"] = "int8/tensor";
  EXPECT_EQ(formats(), (Formats{"int8/channel", "int8/tensor", "int8/tensor", "int8/tensor"}));
  weights["ends.table"] = "float";  // takes the wider rule back
  EXPECT_EQ(formats(), (Formats{"int8/channel", "int8/tensor", "int8/tensor", "float"}));
  const ModelLayout layout = jamba();
  const auto site =
      std::ranges::find_if(layout.linears, [](const LinearSite& s) { return s.role == "in_proj"; });
  ASSERT_NE(site, layout.linears.end());
  weights[site->name] = "float";
  const Recipe fitted = fit_recipe(recipe_of({{"weights", weights}, {"round", "nearest"}}), layout);
  EXPECT_FALSE(fitted.weights.at(site->name).quantized);
  EXPECT_TRUE(fitted.weights.at("in_proj").quantized);
}

TEST(Selector, AModuleIsOneToo) {
  const Recipe fitted = fit_recipe(recipe_of({{"weights", {{"mamba", "int8/tensor"}}},
                                              {"activations", {{"mlp", "int8/token/dynamic"}}},
                                              {"round", "nearest"}}),
                                   jamba());
  EXPECT_EQ(format_of(fitted, "in_proj"), "int8/tensor");
  EXPECT_EQ(format_of(fitted, "A_log"), "int8/tensor");
  EXPECT_EQ(format_of(fitted, "q_proj"), "float");
  EXPECT_FALSE(fitted.weights.contains("norm"));
  EXPECT_TRUE(fitted.activations.contains("down_proj.input"));
  EXPECT_FALSE(fitted.activations.contains("q_proj.input"));
}

TEST(Selector, TwoThatAreEquallyNarrowAreRefused) {
  Json weights = {{"mamba", "int8/tensor"}, {"product", "int8/channel"}};
  const auto fit = [&] {
    return fit_recipe(recipe_of({{"weights", weights}, {"round", "nearest"}}), jamba());
  };
  expect_error(
      fit, ErrorCode::invalid_argument,
      {"recipe r: \"mamba\" and \"product\" both choose", "in_proj", "write \"mamba.product\""});
  weights["mamba.product"] = "int8/tensor";
  EXPECT_NO_THROW(fit());
}

TEST(Selector, WhatNothingHasIsAnsweredWithTheNearest) {
  const auto refused = [](const char* section, const char* selector, const Json& value,
                          std::initializer_list<std::string> words) {
    Json keys = {{section, {{selector, value}}}};
    if (std::string(section) == "weights") keys["round"] = "nearest";
    if (std::string(section) == "smooth") keys["calibrate"] = "built-in";
    expect_error([&] { fit_recipe(recipe_of(keys), jamba()); }, ErrorCode::invalid_argument, words);
  };
  refused("weights", "prodct", "int8/tensor", {"weights", "did you mean \"product\"", "router"});
  refused("weights", "mamba.prodct", "int8/tensor", {"did you mean \"product\""});
  refused("weights", "product.input", "int8/tensor", {"weights: no model has"});
  refused("activations", "product", "int8/token/dynamic", {"activations: no model has"});
  refused("rotate", "product.inputs", "full", {"rotate", "did you mean \"product.input\""});
  refused("smooth", "produc.input", 0.5, {"smooth", "did you mean \"product.input\""});
  refused("weights", "product", "int8/chanel",
          {"weights.product: unknown format", "did you mean \"int8/channel\""});
  refused("activations", "value", "int8/dynamic", {"activations.value: unknown format"});
  // What other families have is void here; a recipe of nothing else is refused.
  EXPECT_NO_THROW(fit_recipe(recipe_of({{"weights", {{"query_key_value", "f16"}}}}), jamba()));
  refused("weights", "query_key_value", "int8/tensor",
          {"recipe r is not for JambaForCausalLM: nothing that it quantizes is there"});
}

TEST(Selector, KindsRotateOnlyWhatCanBe) {
  const Recipe fitted =
      fit_recipe(recipe_of({{"rotate", {{"*", "largest"}, {"attention", "none"}}}}), jamba());
  for (const ActivationSite& site : jamba().activations) {
    EXPECT_EQ(fitted.rotate.contains(site.role), site.rotatable && site.module != "attention")
        << site.role;
  }
  expect_error(
      [] {
        fit_recipe(recipe_of({{"rotate", {{"z", "largest"}}}}), jamba());
      },
      ErrorCode::invalid_argument, {"cannot be rotated at \"z\""});
}

TEST(Base, IsMergedWithWhatTheRecipeChanges) {
  const Recipe ours = load_recipe("krait-w8a8"), other = load_recipe("krait-w8a8-kv8");
  EXPECT_EQ(other.weights, ours.weights);
  EXPECT_EQ(other.activations.size(), ours.activations.size() + 1);
  EXPECT_EQ(other.name, "krait-w8a8-kv8");
  EXPECT_NE(other.description, ours.description);
  const Recipe plain = recipe_of({{"base", "krait-w8a8"}, {"activations", nullptr}});
  EXPECT_TRUE(plain.activations.empty());
  EXPECT_EQ(plain.description, "");
  EXPECT_FALSE(plain.source.contains("base"));
}

TEST(Base, MustExistAndNotComeBack) {
  const TemporaryDirectory directory;
  const std::string a = directory / "a.json", b = directory / "b.json";
  write_file_atomic(a, Json{{"name", "a"}, {"base", b}}.dump());
  write_file_atomic(b, Json{{"name", "b"}, {"base", a}}.dump());
  expect_error([&] { load_recipe(a); }, ErrorCode::invalid_argument,
               {"\"base\" comes back to", "cannot be its own base"});
  expect_error(
      [] {
        recipe_of({{"base", "krait-w8a"}});
      },
      ErrorCode::not_found, {"no recipe \"krait-w8a\"", "did you mean \"krait-w8a8\""});
  expect_error(
      [] {
        recipe_of({{"base", 3}});
      },
      ErrorCode::invalid_argument, {"\"base\" must be a string"});
}

TEST(Explain, SaysWhichRuleWonAndWhatStaysFloat) {
  const ModelLayout layout = jamba();
  const auto reports = explain_recipe(load_recipe("krait-w8a8"), layout);
  const auto of = [&](const std::string& role) {
    const auto found = std::ranges::find_if(
        reports, [&](const RuleReport& report) { return report.role == role; });
    EXPECT_NE(found, reports.end()) << role;
    return found == reports.end() ? RuleReport{} : *found;
  };
  EXPECT_EQ(of("in_proj").selector, "product");
  EXPECT_EQ(of("in_proj").format, "int8/channel");
  EXPECT_EQ(of("dt_proj").selector, "dt_proj");
  EXPECT_EQ(of("dt_proj").format, "float");
  EXPECT_EQ(of("router").selector, "");
  EXPECT_EQ(of("router").format, "float");
  EXPECT_EQ(of("embeddings").kind, "table");
  EXPECT_EQ(of("in_proj.input").format, "int8/token/dynamic");
  EXPECT_GT(of("in_proj.input").block, 1);
  EXPECT_EQ(of("x_proj.input").selector, "x_proj.input");
  std::int64_t weights = 0;
  for (const RuleReport& report : reports)
    weights += report.section == "weights" ? report.sites : 0;
  EXPECT_EQ(weights, std::ssize(layout.linears) + std::ssize(layout.params));
}

}  // namespace
}  // namespace krait
