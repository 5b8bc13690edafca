#include "quant/recipe.h"

#include <algorithm>
#include <filesystem>

#include "core/check.h"
#include "core/choices.h"
#include "core/printable.h"
#include "io/json_fields.h"
#include "quant/embedded.h"
#include "quant/observer.h"

namespace krait {
namespace {

using enum ErrorCode;

using Fields = JsonFields;

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
  if (json.is_object() && json.contains("dtype")) {
    const Fields fields(json, where, {"dtype"});
    const std::string name = fields.text("dtype");
    rule.quantized = false;
    if (name == "f32") {
      rule.dtype = DType::f32;
    } else if (name == "f16") {
      rule.dtype = DType::f16;
    } else if (name == "bf16") {
      rule.dtype = DType::bf16;
    } else {
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
  const Fields fields(json, where,
                      {"bits", "type", "strategy", "dynamic", "observer", "outlier_threshold"});
  ActivationRule rule;
  rule.args.bits = fields.integer("bits");
  const std::string type = fields.text("type", "int");
  if (type != "int" && type != "float") {
    fail(invalid_argument, "{}: unknown type {}", where, unknown_name(type, {"int", "float"}));
  }
  rule.args.is_float = type == "float";
  rule.args.strategy = parse_strategy_field(fields);
  rule.args.dynamic = fields.flag("dynamic", false);
  rule.args.outlier_threshold = static_cast<float>(fields.number("outlier_threshold", 0, 65504, 0));
  const bool has_scale = !rule.args.is_float && !rule.args.dynamic;
  check(has_scale || !fields.has("observer"), invalid_argument,
        "{}: an observer is for static integer scales only, this one is {}", where,
        rule.args.is_float ? "float" : "dynamic");
  if (fields.has("observer"))
    rule.observer = parse_observer(fields.at("observer"), where + ".observer");
  return rule;
}

constexpr int kMaxClusters = 8;  // of channels: as many as kernels look up at a time

/// The key "target" of the steps gptq and bias_correction.
bool has_float_target(const Fields& fields) {
  const std::string target = fields.text("target", "quantized");
  if (target != "quantized" && target != "float") {
    fail(invalid_argument, "{}: unknown target {}", fields.where(),
         unknown_name(target, {"quantized", "float"}));
  }
  return target == "float";
}

bool parse_bias_correction(const Json& json, const std::string& where) {
  return has_float_target(Fields(json, where, {"name", "target"}));
}

Rounding parse_rounding(const Json& json, const std::string& where) {
  Rounding rounding;
  rounding.is_gptq = json.at("name") == "gptq";
  std::vector<std::string> known = {"name", "scale"};
  if (rounding.is_gptq) {
    known.insert(known.end(), {"damp", "act_order", "block", "sweeps", "target", "lookup"});
  }
  const Fields fields(json, where, known);
  GptqOptions& options = rounding.options;
  const std::string scale = fields.text("scale", "absmax");
  if (scale == "mse") {
    options.scale = StepChoice::mse;
  } else if (scale == "weighted_mse") {
    options.scale = StepChoice::weighted_mse;
  } else if (scale != "absmax") {
    fail(invalid_argument, "{}: unknown scale {}", where,
         unknown_name(scale, {"absmax", "mse", "weighted_mse"}));
  }
  options.damp = fields.number("damp", 0, 1, options.damp);
  options.act_order = fields.flag("act_order", options.act_order);
  if (fields.has("block")) options.block = fields.integer("block");
  check(options.block >= 1, invalid_argument, "{}: \"block\" must be at least 1", where);
  if (fields.has("sweeps")) options.sweeps = fields.integer("sweeps");
  check(options.sweeps <= 100, invalid_argument, "{}: \"sweeps\" must be at most 100, got {}",
        where, options.sweeps);
  rounding.lookup = fields.number("lookup", 0, 1000, rounding.lookup);
  rounding.float_target = has_float_target(fields);
  return rounding;
}

RecipeStep parse_step(const Json& json, const std::string& where) {
  check(json.is_object() && json.contains("name") && json.at("name").is_string(), invalid_argument,
        "{}: an object with a \"name\" is expected", where);
  RecipeStep step{json.at("name").get<std::string>(), json};
  if (step.name == "rotate") {
    const Fields fields(json, where, {"name", "site", "block"});
    fields.text("site");
    if (fields.at("block").is_string()) {
      const std::string block = fields.text("block");
      if (block != "full" && block != "largest" && block != "power_of_two") {
        fail(invalid_argument, "{}: unknown block {} or a whole number", where,
             unknown_name(block, {"full", "largest", "power_of_two"}));
      }
    } else {
      check(fields.integer("block") >= 1, invalid_argument, "{}: \"block\" must be at least 1",
            where);
    }
  } else if (step.name == "cluster") {
    const Fields fields(json, where, {"name", "site", "heads", "channels"});
    fields.text("site");
    for (const char* key : {"heads", "channels"}) {
      check(fields.integer(key) >= 1 && fields.integer(key) <= kMaxClusters, invalid_argument,
            "{}: \"{}\" must be 1 to {}, got {}", where, key, kMaxClusters, fields.integer(key));
    }
  } else if (step.name == "smooth") {
    const Fields fields(json, where, {"name", "site", "alpha"});
    fields.text("site");
    fields.number("alpha", 0, 1, 0.5);
  } else if (step.name == "calibrate") {
    const Fields fields(json, where, {"name", "data"});
    const std::string data = fields.text("data", "built-in");
    if (data != "built-in" && data != "generated") {
      fail(invalid_argument, "{}: unknown data {}", where,
           unknown_name(data, {"built-in", "generated"}));
    }
  } else if (step.name == "rtn" || step.name == "gptq") {
    parse_rounding(json, where);
  } else if (step.name == "bias_correction") {
    parse_bias_correction(json, where);
  } else {
    fail(invalid_argument, "{}: unknown step {}", where,
         unknown_name(step.name, {"cluster", "smooth", "rotate", "calibrate", "rtn", "gptq",
                                  "bias_correction"}));
  }
  return step;
}

/// Each step at most once (smooth and rotate: once per site), in the order in which it makes sense,
/// and calibrate and one of rtn and gptq exactly if there is something for them to do.
void check_steps(const Recipe& recipe, const std::string& where) {
  const std::vector<std::string> order = {"cluster", "smooth", "rotate",         "calibrate",
                                          "rtn",     "gptq",   "bias_correction"};
  std::ptrdiff_t last = 0;
  std::vector<std::string> seen;
  for (const RecipeStep& step : recipe.steps) {
    const auto place = std::find(order.begin(), order.end(), step.name) - order.begin();
    std::string key = step.name + " ";
    if (step.name != "cluster") key += step.args.value("site", "");
    check(std::find(seen.begin(), seen.end(), key) == seen.end(), invalid_argument,
          "{}: the step \"{}\" occurs twice", where, printable(key, 64));
    check(
        place >= last, invalid_argument,
        "{}: the step \"{}\" comes too late, the order is cluster, smooth, rotate, calibrate, then "
        "rtn or gptq, bias_correction",
        where, step.name);
    seen.push_back(key);
    last = place;
  }
  const auto has = [&](const char* name) {
    return std::any_of(recipe.steps.begin(), recipe.steps.end(),
                       [&](const RecipeStep& step) { return step.name == name; });
  };
  const bool has_int_weights = std::any_of(recipe.weights.begin(), recipe.weights.end(),
                                           [](const auto& item) { return item.second.quantized; });
  const bool is_static = recipe.needs_calibration();
  check(is_static == has("calibrate"), invalid_argument, "{}: there is {}", where,
        is_static
            ? "an activation with a static scale, a step \"cluster\", \"smooth\", \"gptq\" or "
              "\"bias_correction\" or a scale of \"weighted_mse\" but no step \"calibrate\""
            : "a step \"calibrate\" but no activation with a static scale, step \"cluster\", "
              "\"smooth\", \"gptq\" or \"bias_correction\" or scale of \"weighted_mse\"");
  check(!has("rtn") || !has("gptq"), invalid_argument,
        "{}: there are both steps \"rtn\" and \"gptq\"", where);
  const bool rounds = has("rtn") || has("gptq");
  check(rounds || !has("bias_correction"), invalid_argument,
        "{}: there is a step \"bias_correction\" but no step \"rtn\" or \"gptq\" before it", where);
  check(has_int_weights == rounds, invalid_argument, "{}: there is {}", where,
        has_int_weights ? "an integer weight but no step \"rtn\" or \"gptq\""
                        : "a step \"rtn\" or \"gptq\" but no integer weight");
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

const Json& array_or_empty(const Fields& fields, const char* key) {
  static const Json empty = Json::array();
  if (!fields.has(key)) return empty;
  check(fields.at(key).is_array(), invalid_argument, "{}: \"{}\" must be a list, got {}",
        fields.where(), key, fields.at(key).type_name());
  return fields.at(key);
}

const Json& object_or_empty(const Fields& fields, const char* key) {
  static const Json empty = Json::object();
  if (!fields.has(key)) return empty;
  check(fields.at(key).is_object(), invalid_argument, "{}: \"{}\" must be an object, got {}",
        fields.where(), key, fields.at(key).type_name());
  return fields.at(key);
}

/// Names appear in messages, in file names and in the model card.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
             std::string::npos;
}

}  // namespace

bool Recipe::needs_calibration() const {
  return find_step("cluster") || find_step("smooth") || rounding.looks_at_inputs() ||
         std::any_of(activations.begin(), activations.end(), [](const auto& item) {
           return !item.second.args.is_float && !item.second.args.dynamic;
         });
}

const WeightRule* Recipe::find_weight(const std::string& weight, const std::string& role) const {
  auto rule = weights.find(weight);
  if (rule == weights.end()) rule = weights.find(role);
  return rule == weights.end() ? nullptr : &rule->second;
}

const RecipeStep* Recipe::find_step(std::string_view wanted) const {
  const auto it = std::find_if(steps.begin(), steps.end(),
                               [&](const RecipeStep& step) { return step.name == wanted; });
  return it == steps.end() ? nullptr : &*it;
}

Recipe parse_recipe(const Json& json, const std::string& where) {
  const Fields fields(
      json, where,
      {"name", "description", "reference", "weights", "activations", "shared_scales", "steps"});
  Recipe recipe;
  recipe.source = json;
  recipe.name = fields.text("name");
  check(is_plain_name(recipe.name), invalid_argument,
        "{}: \"name\" must be 1 to 64 letters, digits or any of -_. , got \"{}\"", where,
        printable(recipe.name, 64));
  recipe.description = fields.text("description", "");
  recipe.reference = fields.text("reference", "");
  for (const auto& [role, rule] : object_or_empty(fields, "weights").items()) {
    recipe.weights[role] = parse_weight_rule(rule, where + ": weights." + printable(role, 64));
  }
  for (const auto& [role, rule] : object_or_empty(fields, "activations").items()) {
    recipe.activations[role] =
        parse_activation_rule(rule, where + ": activations." + printable(role, 64));
  }
  int index = 0;
  for (const Json& list : array_or_empty(fields, "shared_scales")) {
    recipe.shared_scales.push_back(
        parse_shared_list(list, fmt::format("{}: shared_scales[{}]", where, index++)));
  }
  index = 0;
  for (const Json& step : array_or_empty(fields, "steps")) {
    const std::string place = fmt::format("{}: steps[{}]", where, index++);
    recipe.steps.push_back(parse_step(step, place));
    const std::string& kind = recipe.steps.back().name;
    if (kind == "calibrate") recipe.generates_data = step.value("data", "") == "generated";
    if (kind == "rtn" || kind == "gptq") recipe.rounding = parse_rounding(step, place);
    if (kind == "bias_correction") {
      recipe.rounding.corrects_bias = true;
      recipe.rounding.float_bias_target = parse_bias_correction(step, place);
    }
  }
  check_steps(recipe, where);
  return recipe;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : embedded_recipes()) names.emplace_back(file.name);
  return names;
}

Recipe load_recipe(const std::string& name_or_path) {
  for (const EmbeddedFile& file : embedded_recipes()) {
    if (file.name == name_or_path) {
      return parse_recipe(parse_json(file.content, "recipe " + name_or_path),
                          "recipe " + name_or_path);
    }
  }
  const bool is_path =
      name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".json");
  if (!is_path && !std::filesystem::is_regular_file(name_or_path)) {
    fail(not_found, "there is no recipe {}; or give the path of a JSON file",
         unknown_name(name_or_path, recipe_names()));
  }
  return parse_recipe(parse_json(read_file(name_or_path), name_or_path, DuplicateKeys::refuse),
                      name_or_path);
}

}  // namespace krait
