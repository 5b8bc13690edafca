#include "quant/recipe.h"

#include <gtest/gtest.h>

#include "io/test_support.h"
#include "krait/quantize.h"
#include "models/test_attention.h"
#include "quant/gptq.h"
#include "quant/rotate.h"
#include "quant/test_support.h"

namespace krait {
namespace {

ModelLayout layout_of(const TinyMamba& shape = {.D = 24, .E = 40}) {
  return krait::layout_of(tiny_mamba(shape));
}

/// As checkpoints have it: by role, with steps.
Json quamba() { return by_role("quamba-w8a8", layout_of()); }

/// quamba-w8a8 with one value replaced, parsed and checked against a model.
void check_changed(const char* pointer, const Json& value,
                   const ModelLayout& layout = layout_of()) {
  Json json = quamba();
  json[Json::json_pointer(pointer)] = value;
  fit_recipe(parse_recipe(json, "r.json"), layout);
}

void expect_refused(const char* pointer, const Json& value,
                    std::initializer_list<std::string> parts) {
  expect_error([&] { check_changed(pointer, value); }, ErrorCode::invalid_argument, parts);
}

TEST(Recipe, AllThatShipParseAndFitAModel) {
  // Ours and Quamba's first, then what others published, then what one part of a method does.
  EXPECT_EQ(recipe_names(), (std::vector<std::string>{"krait-ternary",
                                                      "krait-w2a8",
                                                      "krait-w3a8",
                                                      "krait-w4a16",
                                                      "krait-w4a8-h8",
                                                      "krait-w4a8",
                                                      "krait-w8a16-h16",
                                                      "krait-w8a16",
                                                      "krait-w8a8-kv8",
                                                      "krait-w8a8-s8",
                                                      "krait-w8a8",
                                                      "quamba-w8a8",
                                                      "quamba2-w4a16",
                                                      "quamba2-w4a8",
                                                      "quamba2-w8a8",
                                                      "channel-w8a8",
                                                      "gptq-w4a16",
                                                      "gptq-w8a8",
                                                      "hadamard-w8a8",
                                                      "krait-w4a8-g128",
                                                      "octav-w8a8",
                                                      "percentile-w8a8",
                                                      "bf16",
                                                      "dynamic-w8a8",
                                                      "f16",
                                                      "f32",
                                                      "gptq-w2a8",
                                                      "gptq-w3a8",
                                                      "gptq-w4a8",
                                                      "jamba-llmint8-quamba",
                                                      "llmint8-w8a8",
                                                      "quarot-w8a8",
                                                      "rtn-w2a8",
                                                      "rtn-w3a8",
                                                      "rtn-w4a8",
                                                      "smoothquant-w8a8",
                                                      "static-w8a8"}));
  for (const bool conv_bias : {false, true}) {
    const ModelLayout layout =
        layout_of({.D = 32, .E = 80, .conv_bias = conv_bias, .tied = conv_bias});
    for (const std::string& name : recipe_names()) {
      const Recipe recipe = load_recipe(name);
      EXPECT_EQ(recipe.name, name);
      EXPECT_FALSE(recipe.description.empty()) << name;
      if (name == "krait-w8a8-s8") {  // of Mamba-2 only, as the sentence says
        expect_error([&] { fit_recipe(recipe, layout); }, ErrorCode::invalid_argument,
                     {"krait-w8a8-s8", "ssm_state", "of Mamba-2"});
        continue;
      }
      EXPECT_NO_THROW(fit_recipe(recipe, layout)) << name;
    }
  }
  EXPECT_TRUE(load_recipe("quamba-w8a8").needs_calibration());
  EXPECT_FALSE(load_recipe("krait-w8a8").needs_calibration());
  EXPECT_FALSE(load_recipe("dynamic-w8a8").needs_calibration());
}

// One recipe serves all architectures: what a model does not have is void, what nothing has is an
// error. Scales that the parts of one product share are shared only where all parts exist.
TEST(Recipe, FitsEveryArchitecture) {
  const TestCheckpoint checkpoint = tiny_mamba2({.D = 32, .H = 20, .P = 4});
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.source());
  for (const std::string& name : recipe_names()) {
    EXPECT_NO_THROW(fit_recipe(load_recipe(name), layout)) << name;
  }
  const Recipe fitted = fit_recipe(load_recipe("quamba-w8a8"), layout);
  EXPECT_TRUE(fitted.activations.contains("conv1d.x"));
  EXPECT_FALSE(fitted.activations.contains("x_proj.input"));
  EXPECT_TRUE(fitted.shared_scales.empty());
  EXPECT_EQ(fit_recipe(load_recipe("quamba-w8a8"), layout_of()).shared_scales.size(), 2u);
}

TEST(Recipe, ReadsEveryField) {
  const Recipe recipe = fit_recipe(load_recipe("quamba-w8a8"), layout_of());
  const ActivationRule& u = recipe.activations.at("x_proj.input");
  EXPECT_EQ(u.observer.name, "percentile");
  EXPECT_EQ(u.observer.percentile, 99.999);
  EXPECT_EQ(u.observer.averaging, 0.01);
  EXPECT_EQ(u.args, (QuantArgs{.bits = 8, .strategy = Strategy::tensor}));
  EXPECT_TRUE(recipe.activations.at("ssm_state").args.is_float);
  EXPECT_EQ(recipe.weights.at("embeddings").dtype, DType::f16);
  EXPECT_FALSE(recipe.weights.at("embeddings").quantized);
  EXPECT_EQ(load_recipe("krait-w8a8").weights.at("product").args.strategy, Strategy::channel);
  EXPECT_EQ(recipe.shared_scales.size(), 2u);
  EXPECT_EQ(recipe.rotate, (std::map<std::string, std::string>{{"out_proj.input", "full"}}));
}

TEST(Recipe, IsFoundByNameOrPath) {
  const TemporaryDirectory directory;
  Json json = quamba();
  json["name"] = "mine";
  write_file_atomic(directory / "mine.json", json.dump());
  EXPECT_EQ(load_recipe(directory / "mine.json").name, "mine");
  expect_error([] { load_recipe("kraitw8a8"); }, ErrorCode::not_found,
               {"\"kraitw8a8\"", "did you mean \"krait-w8a8\"", "quamba-w8a8"});
  expect_error([&] { load_recipe(directory / "absent.json"); }, ErrorCode::not_found,
               {"absent.json"});
  write_file_atomic(directory / "broken.json", "{\"name\": ");
  expect_error([&] { load_recipe(directory / "broken.json"); }, ErrorCode::bad_data,
               {"broken.json"});
  write_file_atomic(directory / "twice.json", R"({"name": "a", "name": "b"})");
  expect_error([&] { load_recipe(directory / "twice.json"); }, ErrorCode::bad_data, {"name"});
}

TEST(Recipe, RefusesUnknownKeys) {
  expect_refused("/wieghts", Json::object(),
                 {"r.json", "unknown key \"wieghts\"", "did you mean \"weights\"", "activations"});
  expect_refused("/weights/in_proj/bit", 8, {"weights.in_proj", "\"bit\"", "bits, strategy"});
  expect_refused("/activations/z/dynamics", true, {"activations.z", "did you mean \"dynamic\""});
  expect_refused("/activations/x_proj.input/observer/percentil", 1,
                 {"observer", "did you mean \"percentile\""});
  expect_refused("/steps/1/samples", 3, {"steps[1]", "\"samples\"", "known: name"});
}

TEST(Recipe, RefusesWrongTypesAndValues) {
  expect_refused("/name", 3, {"\"name\" must be a string"});
  expect_refused("/name", "", {"\"name\" must be 1 to 64"});
  expect_refused("/name", "a\nb", {"\"name\" must be", "a?b"});
  expect_refused("/weights/in\nproj", {{"bits", 8}, {"bit\ns", 8}},
                 {"weights.in?proj", "\"bit?s\""});
  expect_refused("/weights", Json::array(), {"\"weights\" must be an object"});
  expect_refused("/weights/in_proj", 8, {"weights.in_proj", "an object is expected"});
  expect_refused("/weights/in_proj/bits", "8", {"\"bits\" must be a whole number", "\"8\""});
  expect_refused("/weights/in_proj/bits", 7.5, {"whole number", "7.5"});
  expect_refused("/weights/in_proj/bits", -8, {"whole number"});
  expect_refused("/weights/in_proj/strategy", "chanel", {"did you mean \"channel\""});
  expect_refused("/weights/lm_head/dtype", "f8", {"unknown dtype \"f8\"", "f32, f16, bf16"});
  expect_refused("/activations/z/dynamic", 1, {"\"dynamic\" must be true or false"});
  expect_refused("/activations/z/type", "integer", {"unknown type", "int, float"});
  expect_refused("/activations/z/observer", {{"name", "minmax"}},
                 {"unknown observer \"minmax\"", "absmax, mse, percentile"});
  expect_refused("/activations/z/observer", "absmax", {"observer", "\"name\""});
  expect_refused("/activations/x_proj.input/observer/percentile", 101, {"from 0 to 100", "101"});
  expect_refused("/activations/z/dynamic", true, {"an observer is for static", "dynamic"});
  expect_refused("/steps", Json::object(), {"\"steps\" must be a list"});
  expect_refused("/shared_scales/0", {"z"}, {"shared_scales[0]", "at least two"});
  expect_error([] { parse_recipe(Json::array(), "r.json"); }, ErrorCode::invalid_argument,
               {"an object is expected, got array"});
}

TEST(Recipe, RefusesStepsThatMakeNoSense) {
  expect_refused("/steps/1/name", "callibrate",
                 {"did you mean \"calibrate\"", "smooth, rotate, calibrate, rtn"});
  expect_refused("/steps", {{{"name", "rtn"}}}, {"no \"calibrate\""});
  expect_refused("/steps", {{{"name", "calibrate"}}}, {"an integer weight but no \"round\""});
  expect_refused("/steps", {{{"name", "rtn"}}, {{"name", "calibrate"}}},
                 {"order is cluster, smooth, rotate, calibrate"});
  expect_refused("/steps/2/name", "calibrate", {"occurs twice"});
  Json json = by_role("krait-w8a8", layout_of());
  json["steps"].insert(json["steps"].end() - 1, Json::object({{"name", "calibrate"}}));
  expect_error([&] { parse_recipe(json, "r"); }, ErrorCode::invalid_argument,
               {"no activation with a static scale"});
}

TEST(Recipe, ReadsHowWeightsAreRounded) {
  EXPECT_FALSE(load_recipe("krait-w8a8").rounding().looks_at_inputs());
  const Recipe gptq = load_recipe("gptq-w4a8");
  EXPECT_TRUE(gptq.rounding().is_gptq() && gptq.needs_calibration());
  EXPECT_EQ(gptq.rounding().scale, StepChoice::absmax);
  EXPECT_FALSE(gptq.rounding().has_float_target());
  EXPECT_EQ(gptq.calibrate, "built-in");
  const Recipe ours = load_recipe("krait-w4a8");
  EXPECT_TRUE(ours.rounding().has_float_target());
  EXPECT_EQ(ours.calibrate, "generated");
  EXPECT_EQ(gptq_options(gptq.rounding()).damp, 0.01);
  EXPECT_EQ(gptq_options(gptq.rounding()).sweeps, 0);
  EXPECT_EQ(gptq_options(ours.rounding()).damp, 0.1);
  EXPECT_EQ(gptq_options(ours.rounding()).sweeps, 4);

  const auto parse = [](const Json& round, bool calibrates) {
    Json json = load_recipe("rtn-w4a8").source;
    json["round"] = round;
    if (calibrates) json["calibrate"] = "built-in";
    return parse_recipe(json, "r");
  };
  const auto expect = [&](const Json& round, std::initializer_list<std::string> words) {
    expect_error([&] { parse(round, true); }, ErrorCode::invalid_argument, words);
  };
  EXPECT_EQ(parse("nearest/mse", false).rounding().scale, StepChoice::mse);
  EXPECT_NO_THROW(parse("nearest/weighted_mse", true));
  expect("nearest/mse", {"\"calibrate\" but no activation"});
  expect("nearest/best", {"round: unknown scale \"best\"", "absmax, mse"});
  expect("gptq-papers", {"unknown method \"gptq-papers\"", "did you mean \"gptq-paper\""});
  expect(1, {"\"round\" must be a string"});
  expect_error([&] { parse("gptq", false); }, ErrorCode::invalid_argument,
               {"\"round\" that looks at inputs", "but no \"calibrate\""});
  Json data = ours.source;
  data["calibrate"] = "own";
  expect_error([&] { parse_recipe(data, "r"); }, ErrorCode::invalid_argument,
               {"calibrate: unknown data \"own\"", "built-in, generated"});
}

/// What a checkpoint keeps is a recipe too, for the same model the same one.
TEST(Recipe, ByRoleAndWithStepsIsReadAgain) {
  for (const ModelLayout& layout :
       {layout_of({.D = 32, .E = 80}), krait::layout_of(tiny_mamba2({.D = 32, .H = 20, .P = 4})),
        krait::layout_of(tiny_neox({.D = 64, .heads = 4, .F = 112})),
        krait::layout_of(tiny_jamba({.D = 48, .heads = 4, .F = 80}))}) {
    for (const std::string& name : recipe_names()) {
      Recipe fitted;
      try {
        fitted = fit_recipe(load_recipe(name), layout);
      } catch (const Error&) {
        continue;  // for other families
      }
      const Recipe again = fit_recipe(parse_recipe(fitted.source, name), layout);
      EXPECT_EQ(again.source, fitted.source) << name;
      EXPECT_EQ(again.weights, fitted.weights) << name;
      EXPECT_EQ(again.activations, fitted.activations) << name;
      EXPECT_EQ(again.rotate, fitted.rotate) << name;
      EXPECT_EQ(again.smooth, fitted.smooth) << name;
      EXPECT_EQ(again.cluster, fitted.cluster) << name;
      EXPECT_EQ(again.round, fitted.round) << name;
    }
  }
}

TEST(Recipe, ReadsRoundingAmongSteps) {
  const auto round_of = [](const Json& step) {
    Json json = by_role("gptq-w4a8", layout_of({.D = 32, .E = 80}));
    json["steps"].back() = step;
    return parse_recipe(json, "r").rounding();
  };
  EXPECT_EQ(round_of({{"name", "gptq"}}).method, Rounding::Method::gptq_paper);
  const Json ours = {{"name", "gptq"}, {"damp", 0.1}, {"sweeps", 4}, {"target", "float"}};
  EXPECT_EQ(round_of(ours).method, Rounding::Method::gptq);
  const auto expect = [&](const Json& step, std::initializer_list<std::string> words) {
    expect_error([&] { round_of(step); }, ErrorCode::invalid_argument, words);
  };
  expect({{"name", "rtn"}, {"damp", 0.1}}, {"unknown key \"damp\"", "known: name, scale"});
  expect({{"name", "gptq"}, {"dampp", 0.1}}, {"unknown key \"dampp\"", "did you mean \"damp\""});
  expect({{"name", "gptq"}, {"damp", 0.5}}, {"GPTQ has two kinds", "\"gptq-paper\" (damp 0.01)"});
  Json both = by_role("gptq-w4a8", layout_of({.D = 32, .E = 80}));
  both["steps"].insert(both["steps"].end() - 1, Json{{"name", "rtn"}});
  expect_error([&] { parse_recipe(both, "r"); }, ErrorCode::invalid_argument,
               {"the step \"round\" occurs twice"});
}

TEST(Recipe, ReadsSmoothSteps) {
  const Recipe recipe = load_recipe("smoothquant-w8a8");
  EXPECT_EQ(fit_recipe(recipe, layout_of()).smooth,
            (std::map<std::string, std::optional<double>>{{"in_proj.input", 0.5}}));
  EXPECT_TRUE(recipe.needs_calibration());
  Json json = {{"name", "r"}, {"steps", {{{"name", "smooth"}, {"site", "in_proj.input"}}}}};
  expect_error([&] { parse_recipe(json, "r"); }, ErrorCode::invalid_argument,
               {"\"smooth\"", "but no \"calibrate\""});
  json["steps"].push_back({{"name", "calibrate"}});
  EXPECT_NO_THROW(parse_recipe(json, "r"));
  json["steps"][0]["alpha"] = 1.5;
  expect_error([&] { parse_recipe(json, "r"); }, ErrorCode::invalid_argument,
               {"smooth.in_proj.input", "\"alpha\" must be a number from 0 to 1"});
  json["steps"][0].erase("alpha");
  json["steps"].push_back(json["steps"][0]);
  expect_error([&] { parse_recipe(json, "r"); }, ErrorCode::invalid_argument, {"occurs twice"});
}

TEST(CheckRecipe, ListsRolesSitesAndFormats) {
  expect_refused("/weights/inproj", {{"bits", 8}},
                 {"quamba-w8a8: weights", "no model has a kind, module or role \"inproj\"",
                  "did you mean \"in_proj\"", "A_log"});
  expect_refused("/activations/u", {{"bits", 8}}, {"activations", "role \"u\"", "x_proj.input"});
  expect_refused("/weights/in_proj/bits", 4,
                 {"weights.in_proj cannot be int4/tensor", "int8/tensor, int8/channel"});
  expect_refused("/weights/in_proj/strategy", "group", {"weights.in_proj cannot be int8/group"});
  expect_refused("/weights/A_log/strategy", "channel",
                 {"weights.A_log cannot be int8/channel", "needs the weights of a convolution"});
  expect_refused("/weights/norm", {{"bits", 8}},
                 {"weights.norm cannot be int8/tensor", "there are: f32, f16, bf16"});
  expect_refused(
      "/activations/z/bits", 4,
      {"activations.z cannot be int4/tensor", "int8/tensor, int8/channel", "int8/token/dynamic"});
  expect_refused("/activations/z/strategy", "token", {"activations.z cannot be int8/token:"});
  expect_refused("/activations/x_proj.input/strategy", "channel",
                 {"activations.x_proj.input cannot be int8/channel", "int8/tensor,"});
  expect_refused("/activations/ssm_state/bits", 8, {"ssm_state", "f16"});
  expect_refused("/activations/ssm_state", {{"bits", 8}, {"dynamic", true}},
                 {"ssm_state", "f16, int8/tensor, int8/channel"});
  expect_refused("/shared_scales/0", {"z", "ssm_state"}, {"ssm_state has no static scale"});
  expect_refused("/shared_scales/0", {"z", "Z"}, {"shared_scales", "\"Z\"", "did you mean \"z\""});
  expect_refused("/shared_scales/0", {"z", "B"}, {"B is named twice"});
  EXPECT_NO_THROW(check_changed("/activations/ssm_state", {{"bits", 8}}));
  EXPECT_NO_THROW(check_changed("/activations/ssm_state", {{"bits", 8}, {"strategy", "channel"}}));
  EXPECT_NO_THROW(check_changed("/weights/conv1d.weight/strategy", "channel"));
}

TEST(CheckRecipe, KnowsWhereFourBitsAreRead) {
  const Json four = {{"bits", 4}, {"strategy", "group"}, {"group_size", 64}};
  for (const char* role : {"/weights/in_proj", "/weights/x_proj", "/weights/lm_head"}) {
    EXPECT_NO_THROW(check_changed(role, four)) << role;
  }
  expect_refused("/weights/A_log", four, {"weights.A_log cannot be int4/group64"});
  const Json tensor = {{"bits", 4}, {"strategy", "tensor"}};
  expect_refused("/weights/A_log", tensor, {"weights.A_log cannot be int4/tensor", "int8/tensor"});
  expect_refused(
      "/weights/dt_proj", four,
      {"weights.dt_proj cannot be int4/group64", "needs a multiple of 8 columns, and there are 3"});
  Json other = four;
  for (const int size : {0, 8, 48, 256}) {
    other["group_size"] = size;
    expect_refused("/weights/in_proj", other, {"weights.in_proj", "int4/groupN"});
  }
  other = four;
  other["strategy"] = "channel";
  expect_refused("/weights/in_proj", other, {"weights.in_proj cannot be int4/channel"});
  other = four;
  other["bits"] = 8;
  expect_refused("/weights/in_proj", other, {"weights.in_proj cannot be int8/group64"});
}

TEST(CheckRecipe, KnowsWhereCodesAreRead) {
  const Json codes = {{"bits", 2}, {"strategy", "group"}, {"group_size", 64}, {"codes", "trellis"}};
  const ModelLayout wide = layout_of({.D = 32, .E = 80});
  for (const char* role : {"/weights/in_proj", "/weights/lm_head", "/weights/embeddings"}) {
    Json changed = codes;
    for (const char* kind : {"integer", "ternary", "trellis"}) {
      changed["codes"] = kind;
      const bool needs_input = role == std::string("/weights/lm_head");
      if (needs_input) continue;
      EXPECT_NO_THROW(check_changed(role, changed, wide)) << role << kind;
    }
  }
  // quamba-w8a8 leaves the head's input in float.
  expect_error([&] { check_changed("/weights/lm_head", codes, wide); }, ErrorCode::invalid_argument,
               {"weights.lm_head are codes", "float inputs"});
  expect_refused("/weights/in_proj", codes, {"needs a multiple of 16 columns"});
  Json other = codes;
  other["codes"] = "treillis";
  expect_refused("/weights/in_proj", other, {"unknown codes \"treillis\"", "trellis"});
  other["codes"] = "ternary";
  other["bits"] = 3;
  expect_refused("/weights/in_proj", other, {"ternary codes have 2 bits, got 3"});
  other["codes"] = "trellis";
  other["bits"] = 8;
  expect_refused("/weights/in_proj", other, {"trellis codes have 2, 3 or 4 bits, got 8"});
}

TEST(CheckRecipe, ARowOfCodesMayHaveOneStep) {
  Json codes = {{"bits", 3}, {"strategy", "channel"}, {"codes", "trellis"}};
  const ModelLayout wide = layout_of({.D = 32, .E = 80});
  EXPECT_NO_THROW(check_changed("/weights/in_proj", codes, wide));
  EXPECT_NO_THROW(check_changed("/weights/embeddings", codes, wide));
  expect_refused("/weights/in_proj", codes, {"needs a multiple of 16 columns"});
  codes["group_size"] = 64;
  expect_error([&] { check_changed("/weights/in_proj", codes, wide); }, ErrorCode::invalid_argument,
               {"in_proj cannot be trellis3/channel/group64"});
  // Ternary digits of a row need no words.
  const Json ternary = {{"bits", 2}, {"strategy", "channel"}, {"codes", "ternary"}};
  EXPECT_NO_THROW(check_changed("/weights/in_proj", ternary));
  const Json group = {{"bits", 2}, {"strategy", "group"}, {"group_size", 64}, {"codes", "ternary"}};
  expect_refused("/weights/in_proj", group, {"needs a multiple of 16 columns"});
  const Json four = {{"bits", 4}, {"strategy", "channel"}};
  expect_refused("/weights/in_proj", four,
                 {"in_proj cannot be int4/channel", "there are", "ternary/channel"});
}

TEST(CheckRecipe, RulesForProductsAreCheckedAsThoseOfRoles) {
  const Json int8 = {{"bits", 8}, {"strategy", "channel"}};
  EXPECT_NO_THROW(check_changed("/weights/backbone.layers.1.mixer.in_proj", int8));
  expect_refused("/weights/backbone.layers.9.mixer.in_proj", int8,
                 {"kind, module or role \"backbone.layers.9.mixer.in_proj\""});
  expect_refused("/weights/backbone.layers.1.mixer.in_proj", {{"bits", 4}},
                 {"weights.backbone.layers.1.mixer.in_proj cannot be int4/tensor"});
}

TEST(CheckRecipe, KnowsWhereOutliersAreSplit) {
  Json json = by_role("llmint8-w8a8", layout_of());
  EXPECT_EQ(load_recipe("llmint8-w8a8").activations.at("product.input").args.outlier_threshold, 6);
  const auto refused = [](const Json& changed, std::initializer_list<std::string> parts) {
    expect_error([&] { fit_recipe(parse_recipe(changed, "r"), layout_of()); },
                 ErrorCode::invalid_argument, parts);
  };
  const Json split = json["activations"]["in_proj.input"];
  Json other = json;
  other["activations"]["z"] = split;
  refused(other, {"activations.z cannot be int8/token/dynamic/outliers"});
  other = json;
  other["activations"]["in_proj.input"]["strategy"] = "tensor";
  refused(other, {"activations.in_proj.input cannot be int8/tensor/dynamic/outliers"});
  other = json;
  other["activations"]["in_proj.input"]["outlier_threshold"] = -1;
  refused(other, {"\"outlier_threshold\" must be a number from 0 to 65504"});
  other = json;
  other["weights"]["in_proj"] = {{"bits", 4}, {"strategy", "group"}, {"group_size", 64}};
  refused(other, {"activations.in_proj.input has an outlier_threshold", "weights in groups"});
}

TEST(CheckRecipe, LetsInt8WeightsReadFloats) {
  Json json = quamba();
  json["activations"].erase("dt_proj.input");
  json["shared_scales"] = Json::array();
  EXPECT_NO_THROW(fit_recipe(parse_recipe(json, "r"), layout_of()));
}

TEST(CheckRecipe, KnowsWhereAndHowToRotate) {
  expect_refused(
      "/steps/0/site", "x_proj.input",
      {"cannot be rotated at \"x_proj.input\"", "in_proj.input, out_proj.input, lm_head.input"});
  expect_refused("/steps/0/block", 3, {"out_proj.input", "blocks of 3", "1, 2, 4, 8, 20, 40"});
  expect_refused("/steps/0/block", 0, {"\"block\" must be at least 1"});
  expect_refused("/steps/0/block", "half",
                 {"unknown block \"half\"", "full, largest, power_of_two"});
  expect_error([] { check_changed("/steps/0/block", "full", layout_of({.E = 36})); },
               ErrorCode::invalid_argument, {"blocks of 36", "1, 2, 4, 12"});
  const auto blocks = [](const Json& block, std::int64_t E) {
    Json json = quamba();
    json["steps"][0]["block"] = block;
    return rotation_blocks(parse_recipe(json, "r"), layout_of({.E = E}));
  };
  EXPECT_EQ(blocks("full", 40).at("out_proj.input"), 40);
  EXPECT_EQ(blocks("largest", 36).at("out_proj.input"), 12);
  EXPECT_EQ(blocks("power_of_two", 36).at("out_proj.input"), 4);
  EXPECT_EQ(blocks("power_of_two", 40).at("out_proj.input"), 8);
  EXPECT_EQ(blocks(4, 36).at("out_proj.input"), 4);
  EXPECT_TRUE(blocks(1, 36).empty());
}

}  // namespace
}  // namespace krait
