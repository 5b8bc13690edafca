#include "quant/recipe.h"

#include <algorithm>
#include <filesystem>

#include "core/check.h"
#include "core/choices.h"
#include "core/printable.h"
#include "io/json_fields.h"
#include "krait/quantize.h"
#include "quant/embedded.h"
#include "quant/observer.h"
#include "quant/recipe_steps.h"

namespace krait {
namespace {

using enum ErrorCode;

using Fields = JsonFields;

std::string parse_format(const Json& json, const std::string& where, bool of_weights) {
  std::vector<std::string> known = format_names(of_weights);
  known.insert(known.begin(), "float");
  const std::string name = json.get<std::string>();
  if (std::ranges::find(known, name) == known.end()) {
    fail(invalid_argument, "{}: unknown format {}", where, unknown_name(name, known));
  }
  return name;
}

std::optional<DType> parse_float_dtype(const std::string& name) {
  if (name == "f32") return DType::f32;
  if (name == "f16") return DType::f16;
  if (name == "bf16") return DType::bf16;
  return std::nullopt;
}

Strategy parse_strategy_field(const Fields& fields) {
  const std::string name = fields.text("strategy", "tensor");
  const auto strategy = parse_strategy(name);
  if (!strategy) {
    fail(invalid_argument, "{}: unknown strategy {}", fields.where(),
         unknown_name(name, {"tensor", "channel", "group", "token"}));
  }
  return *strategy;
}

Codes parse_codes_field(const Fields& fields, int bits) {
  const std::string name = fields.text("codes", "integer");
  const auto codes = parse_codes(name);
  if (!codes) {
    fail(invalid_argument, "{}: unknown codes {}", fields.where(),
         unknown_name(name, {"integer", "ternary", "trellis"}));
  }
  check(*codes != Codes::ternary || bits == 2, invalid_argument,
        "{}: ternary codes have 2 bits, got {}", fields.where(), bits);
  check(*codes == Codes::integer || (bits >= 2 && bits <= 4), invalid_argument,
        "{}: {} codes have 2, 3 or 4 bits, got {}", fields.where(), name, bits);
  return *codes;
}

WeightRule parse_weight_rule(const Json& json, const std::string& where) {
  WeightRule rule;
  if (json.is_string()) {
    const std::string name = parse_format(json, where, true);
    rule.dtype = parse_float_dtype(name);
    rule.quantized = !rule.dtype && name != "float";
    if (rule.quantized) rule.args = format_args(name);
    rule.by_part = name.ends_with("/part");
    return rule;
  }
  if (json.is_object() && json.contains("dtype")) {
    const Fields fields(json, where, {"dtype"});
    const std::string name = fields.text("dtype");
    rule.quantized = false;
    rule.dtype = parse_float_dtype(name);
    if (!rule.dtype) {
      fail(invalid_argument, "{}: unknown dtype {}", where,
           unknown_name(name, {"f32", "f16", "bf16"}));
    }
    return rule;
  }
  const Fields fields(json, where, {"bits", "strategy", "group_size", "codes", "dtype"});
  rule.args.bits = fields.integer("bits");
  rule.args.codes = parse_codes_field(fields, rule.args.bits);
  rule.by_part = fields.text("strategy", "") == "part";
  rule.args.strategy = rule.by_part ? Strategy::channel : parse_strategy_field(fields);
  if (fields.has("group_size")) rule.args.group_size = fields.integer("group_size");
  return rule;
}

ObserverArgs parse_observer(const Json& json, const std::string& where) {
  ObserverArgs args;
  // The keys depend on the name: look at that first, so that the message lists the right ones.
  check(json.is_object() && json.contains("name") && json.at("name").is_string(), invalid_argument,
        "{}: an object with a \"name\" is expected, one of {}", where, known_observers());
  args.name = json.at("name").get<std::string>();
  if (args.name == "percentile") {
    const Fields fields(json, where, {"name", "percentile", "averaging"});
    args.percentile = fields.number("percentile", 0, 100, args.percentile);
    args.averaging = fields.number("averaging", 0, 1, args.averaging);
  } else {
    check_observer_name(args.name, where);
    const Fields fields(json, where, {"name"});
  }
  return args;
}

ActivationRule parse_activation_rule(const Json& json, const std::string& where) {
  ActivationRule rule;
  const auto read_format = [&](const Json& format) {
    const std::string name = parse_format(format, where, false);
    rule.quantized = name != "float";
    if (rule.quantized) rule.args = format_args(name);
  };
  if (json.is_string()) {
    read_format(json);
    return rule;
  }
  std::vector<std::string> known = {"bits", "type", "strategy", "dynamic"};
  const bool is_named = json.is_object() && json.contains("format");
  if (is_named) known = {"format"};
  known.insert(known.end(), {"observer", "outlier_threshold"});
  const Fields fields(json, where, known);
  if (is_named) {
    fields.text("format");
    read_format(fields.at("format"));
  } else {
    rule.args.bits = fields.integer("bits");
    const std::string type = fields.text("type", "int");
    if (type != "int" && type != "float") {
      fail(invalid_argument, "{}: unknown type {}", where, unknown_name(type, {"int", "float"}));
    }
    rule.args.is_float = type == "float";
    rule.args.strategy = parse_strategy_field(fields);
    rule.args.dynamic = fields.flag("dynamic", false);
  }
  rule.args.outlier_threshold = static_cast<float>(fields.number("outlier_threshold", 0, 65504, 0));
  check(rule.is_static() || !fields.has("observer"), invalid_argument,
        "{}: an observer is for static integer scales only, this one is {}", where,
        rule.args.is_float || !rule.quantized ? "float" : "dynamic");
  if (fields.has("observer"))
    rule.observer = parse_observer(fields.at("observer"), where + ".observer");
  return rule;
}

std::string parse_block(const Json& json, const std::string& where) {
  if (json.is_string()) {
    const std::string block = json.get<std::string>();
    const std::vector<std::string> known = {"full", "largest", "power_of_two", "none"};
    if (std::ranges::find(known, block) == known.end()) {
      fail(invalid_argument, "{}: unknown block {} or a whole number", where,
           unknown_name(block, known));
    }
    return block;
  }
  const Json boxed = {{"block", json}};
  const int block = Fields(boxed, where, {"block"}).integer("block");
  check(block >= 1, invalid_argument, "{}: \"block\" must be at least 1", where);
  return std::to_string(block);
}

std::optional<double> parse_alpha(const Json& json, const std::string& where) {
  if (json == "none") return std::nullopt;
  const Json boxed = {{"alpha", json}};
  return Fields(boxed, where, {"alpha"}).number("alpha", 0, 1, 0.5);
}

constexpr int kMaxClusters = 8;  // of channels: as many as kernels look up at a time

ClusterStep parse_cluster(const Json& json, const std::string& where) {
  const Fields fields(json, where, {"site", "heads", "channels"});
  for (const char* key : {"heads", "channels"}) {
    check(fields.integer(key) >= 1 && fields.integer(key) <= kMaxClusters, invalid_argument,
          "{}: \"{}\" must be 1 to {}, got {}", where, key, kMaxClusters, fields.integer(key));
  }
  return {fields.text("site"), fields.integer("heads"), fields.integer("channels")};
}

Rounding parse_rounding(const std::string& text, const std::string& where) {
  Rounding rounding;
  const std::string method = text.substr(0, text.find('/'));
  const std::string scale = method.size() < text.size() ? text.substr(method.size() + 1) : "absmax";
  if (method == "gptq" || method == "gptq-paper") {
    rounding.method = method == "gptq" ? Rounding::Method::gptq : Rounding::Method::gptq_paper;
  } else if (method != "nearest") {
    fail(invalid_argument, "{}: unknown method {}", where,
         unknown_name(method, {"nearest", "gptq", "gptq-paper"}));
  }
  if (scale == "mse") {
    rounding.scale = StepChoice::mse;
  } else if (scale == "weighted_mse") {
    rounding.scale = StepChoice::weighted_mse;
  } else if (scale != "absmax") {
    fail(invalid_argument, "{}: unknown scale {}", where,
         unknown_name(scale, {"absmax", "mse", "weighted_mse"}));
  }
  return rounding;
}

std::vector<std::string> parse_shared_list(const Json& list, const std::string& where) {
  check(list.is_array() && list.size() >= 2, invalid_argument,
        "{}: a list of at least two activation roles is expected", where);
  std::vector<std::string> roles;
  for (const Json& role : list) {
    check(role.is_string(), invalid_argument, "{}: a role must be a string, got {}", where,
          role.type_name());
    roles.push_back(role.get<std::string>());
  }
  return roles;
}

/// fn(selector, value, place) for each of an object that may be absent.
template <typename Fn>
void for_entries(const Fields& fields, const char* key, Fn fn) {
  if (!fields.has(key)) return;
  const Json& object = fields.at(key);
  check(object.is_object(), invalid_argument, "{}: \"{}\" must be an object, got {}",
        fields.where(), key, object.type_name());
  for (const auto& [selector, value] : object.items()) {
    fn(selector, value, fmt::format("{}: {}.{}", fields.where(), key, printable(selector, 64)));
  }
}

/// Names appear in messages, in file names and in the model card.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
             std::string::npos;
}

/// Data and a method to round exactly if there is something for them to do.
void check_use(const Recipe& recipe, const std::string& where) {
  const bool has_int_weights =
      std::ranges::any_of(recipe.weights, [](const auto& item) { return item.second.quantized; });
  const bool calibrates = recipe.needs_calibration();
  check(calibrates == !recipe.calibrate.empty(), invalid_argument, "{}: there is {}", where,
        calibrates ? "an activation with a static scale, \"cluster\", \"smooth\", or a \"round\" "
                     "that looks at inputs, but no \"calibrate\""
                   : "a \"calibrate\" but no activation with a static scale, no \"cluster\", "
                     "\"smooth\" or \"round\" that looks at inputs");
  check(
      has_int_weights == recipe.round.has_value(), invalid_argument, "{}: there is {}", where,
      has_int_weights ? "an integer weight but no \"round\"" : "a \"round\" but no integer weight");
}

/// The text of a recipe, its path for one of the user, and what errors call it.
struct RecipeText {
  Json json;
  std::string where;
};

RecipeText read_recipe(const std::string& name_or_path) {
  const std::string where = "recipe " + name_or_path;
  for (const EmbeddedRecipe& file : embedded_recipes()) {
    if (file.name == name_or_path) return {parse_json(file.content, where), where};
  }
  const bool is_path =
      name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".json");
  if (!is_path && !std::filesystem::is_regular_file(name_or_path)) {
    fail(not_found, "there is no recipe {}; or give the path of a JSON file",
         unknown_name(name_or_path, recipe_names()));
  }
  return {parse_json(read_file(name_or_path), name_or_path, DuplicateKeys::refuse), name_or_path};
}

/// The recipe with all that its base has and it does not change; keys in place of steps.
Json with_base(Json json, const std::string& where, std::vector<std::string> seen = {}) {
  if (json.is_object() && json.contains("steps")) json = keys_of_steps(json, where);
  if (!json.is_object() || !json.contains("base")) return json;
  check(json.at("base").is_string(), invalid_argument, "{}: \"base\" must be a string, got {}",
        where, json.at("base").type_name());
  const std::string base = json.at("base").get<std::string>();
  check(std::ranges::find(seen, base) == seen.end(), invalid_argument,
        "{}: \"base\" comes back to {}: a recipe cannot be its own base", where, printable(base));
  seen.push_back(base);
  RecipeText text = read_recipe(base);
  Json result = with_base(std::move(text.json), text.where, seen);
  for (const char* own : {"name", "description", "reference"}) result.erase(own);
  json.erase("base");
  result.merge_patch(json);
  return result;
}

}  // namespace

bool Recipe::needs_calibration() const {
  const auto is_wanted = [](const auto& item) { return item.second.has_value(); };
  return cluster || std::ranges::any_of(smooth, is_wanted) || rounding().looks_at_inputs() ||
         std::ranges::any_of(activations, [](const auto& item) { return item.second.is_static(); });
}

const WeightRule* Recipe::find_weight(const std::string& weight, const std::string& role) const {
  auto rule = weights.find(weight);
  if (rule == weights.end()) rule = weights.find(role);
  return rule == weights.end() ? nullptr : &rule->second;
}

Recipe parse_recipe(const Json& json, const std::string& where) {
  Recipe recipe;
  recipe.source = with_base(json, where);
  const Fields fields(
      recipe.source, where,
      {"name", "description", "reference", "base", "weights", "activations", "shared_scales",
       "cluster", "smooth", "rotate", "calibrate", "round", "steps"});
  recipe.name = fields.text("name");
  check(is_plain_name(recipe.name), invalid_argument,
        "{}: \"name\" must be 1 to 64 letters, digits or any of -_. , got \"{}\"", where,
        printable(recipe.name, 64));
  recipe.description = fields.text("description", "");
  recipe.reference = fields.text("reference", "");
  for_entries(fields, "weights",
              [&](const std::string& selector, const Json& rule, const std::string& place) {
                recipe.weights[selector] = parse_weight_rule(rule, place);
              });
  for_entries(fields, "activations",
              [&](const std::string& selector, const Json& rule, const std::string& place) {
                recipe.activations[selector] = parse_activation_rule(rule, place);
              });
  for_entries(fields, "rotate",
              [&](const std::string& selector, const Json& block, const std::string& place) {
                recipe.rotate[selector] = parse_block(block, place);
              });
  for_entries(fields, "smooth",
              [&](const std::string& selector, const Json& alpha, const std::string& place) {
                recipe.smooth[selector] = parse_alpha(alpha, place);
              });
  if (fields.has("shared_scales")) {
    const Json& lists = fields.at("shared_scales");
    check(lists.is_array(), invalid_argument, "{}: \"shared_scales\" must be a list, got {}", where,
          lists.type_name());
    for (const Json& list : lists) {
      recipe.shared_scales.push_back(parse_shared_list(
          list, fmt::format("{}: shared_scales[{}]", where, recipe.shared_scales.size())));
    }
  }
  if (fields.has("cluster")) {
    recipe.cluster = parse_cluster(fields.at("cluster"), where + ": cluster");
  }
  recipe.calibrate = fields.text("calibrate", "");
  if (fields.has("calibrate") && recipe.calibrate != "built-in" &&
      recipe.calibrate != "generated") {
    fail(invalid_argument, "{}: calibrate: unknown data {}", where,
         unknown_name(recipe.calibrate, {"built-in", "generated"}));
  }
  if (fields.has("round")) {
    recipe.round = parse_rounding(fields.text("round"), where + ": round");
  }
  check_use(recipe, where);
  return recipe;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const EmbeddedRecipe& file : embedded_recipes()) names.emplace_back(file.name);
  return names;
}

Recipe load_recipe(const std::string& name_or_path) {
  const RecipeText text = read_recipe(name_or_path);
  return parse_recipe(text.json, text.where);
}

}  // namespace krait
