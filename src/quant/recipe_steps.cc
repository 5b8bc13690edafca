#include "quant/recipe_steps.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "core/choices.h"
#include "core/printable.h"
#include "io/json_fields.h"
#include "quant/recipe.h"

namespace krait {
namespace {

using enum ErrorCode;

const std::vector<std::string> kSteps = {"cluster", "smooth", "rotate", "calibrate", "rtn", "gptq"};

/// What the two kinds of GPTQ are called in a list of steps; the scale is beside it.
Json gptq_step(Rounding::Method method) {
  if (method == Rounding::Method::gptq) {
    return {{"name", "gptq"}, {"damp", 0.1}, {"sweeps", 4}, {"target", "float"}};
  }
  return {{"name", "gptq"}, {"damp", 0.01}, {"act_order", true}, {"block", 128}};
}

std::string name_of(StepChoice scale) {
  return scale == StepChoice::mse            ? "mse"
         : scale == StepChoice::weighted_mse ? "weighted_mse"
                                             : "absmax";
}

std::string round_key(const Json& step, const std::string& where) {
  const bool is_nearest = step.at("name") == "rtn";
  std::vector<std::string> known = {"name", "scale"};
  if (!is_nearest) known.insert(known.end(), {"damp", "act_order", "block", "sweeps", "target"});
  const std::string scale = JsonFields(step, where, known).text("scale", "absmax");
  if (is_nearest) return "nearest/" + scale;
  Json rest = step;
  rest.erase("scale");
  if (rest == gptq_step(Rounding::Method::gptq)) return "gptq/" + scale;
  check(rest == gptq_step(Rounding::Method::gptq_paper) || rest == Json{{"name", "gptq"}},
        invalid_argument,
        "{}: GPTQ has two kinds and no other settings: write \"round\": \"gptq\" (damp 0.1, 4 "
        "sweeps, target float) or \"gptq-paper\" (damp 0.01)",
        where);
  return "gptq-paper/" + scale;
}

}  // namespace

Json keys_of_steps(const Json& recipe, const std::string& where) {
  Json result = recipe;
  result.erase("steps");
  const Json& steps = recipe.at("steps");
  check(steps.is_array(), invalid_argument, "{}: \"steps\" must be a list, got {}", where,
        steps.type_name());
  std::ptrdiff_t last = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Json& step = steps[i];
    const std::string place = fmt::format("{}: steps[{}]", where, i);
    check(step.is_object() && step.contains("name") && step.at("name").is_string(),
          invalid_argument, "{}: an object with a \"name\" is expected", place);
    const std::string name = step.at("name").get<std::string>();
    const auto order = std::ranges::find(kSteps, name) - kSteps.begin();
    if (order == std::ssize(kSteps)) {
      fail(invalid_argument, "{}: unknown step {}", place, unknown_name(name, kSteps));
    }
    const bool of_site = name == "smooth" || name == "rotate";
    const std::string key = name == "rtn" || name == "gptq" ? "round" : name;
    Json value;
    std::string site;
    if (of_site) {
      const char* with = name == "smooth" ? "alpha" : "block";
      const JsonFields fields(step, place, {"name", "site", with});
      site = fields.text("site");
      value = name == "smooth" && !fields.has(with) ? Json(0.5) : fields.at(with);
    } else if (name == "calibrate") {
      value = JsonFields(step, place, {"name", "data"}).text("data", "built-in");
    } else if (key == "round") {
      value = round_key(step, place);
    } else {
      value = step;
      value.erase("name");
    }
    const bool is_there =
        of_site ? result.contains(key) && result[key].contains(site) : result.contains(key);
    check(!is_there, invalid_argument, "{}: the step \"{}{}{}\" occurs twice", place, key,
          of_site ? " " : "", printable(site, 64));
    check(order >= last, invalid_argument,
          "{}: the step \"{}\" comes too late, the order is cluster, smooth, rotate, calibrate, "
          "then rtn or gptq",
          place, name);
    last = order;
    (of_site ? result[key][site] : result[key]) = value;
  }
  return result;
}

Json recipe_by_role(const Recipe& fitted) {
  Json result = {{"name", fitted.name},
                 {"weights", Json::object()},
                 {"activations", Json::object()},
                 {"steps", Json::array()}};
  if (!fitted.description.empty()) result["description"] = fitted.description;
  if (!fitted.reference.empty()) result["reference"] = fitted.reference;
  for (const auto& [role, rule] : fitted.weights) {
    Json& entry = result["weights"][role];
    if (!rule.quantized) {
      entry = "float";
      if (rule.dtype) entry = {{"dtype", format_name(*rule.dtype)}};
      continue;
    }
    entry = {{"bits", rule.args.bits},
             {"strategy", rule.by_part ? "part" : krait::name_of(rule.args.strategy)}};
    if (rule.args.strategy == Strategy::group) entry["group_size"] = rule.args.group_size;
    if (rule.args.codes != Codes::integer) entry["codes"] = krait::name_of(rule.args.codes);
  }
  for (const auto& [role, rule] : fitted.activations) {
    const QuantArgs& args = rule.args;
    Json& entry = result["activations"][role];
    entry["bits"] = args.bits;
    if (args.is_float) {
      entry["type"] = "float";
      continue;
    }
    entry["strategy"] = krait::name_of(args.strategy);
    entry["dynamic"] = args.dynamic;
    if (args.outlier_threshold > 0) entry["outlier_threshold"] = args.outlier_threshold;
    if (args.dynamic) continue;
    entry["observer"]["name"] = rule.observer.name;
    if (rule.observer.name != "percentile") continue;
    entry["observer"]["percentile"] = rule.observer.percentile;
    entry["observer"]["averaging"] = rule.observer.averaging;
  }
  if (!fitted.shared_scales.empty()) result["shared_scales"] = fitted.shared_scales;
  Json& steps = result["steps"];
  if (const auto& cluster = fitted.cluster) {
    steps.push_back({{"name", "cluster"},
                     {"site", cluster->site},
                     {"heads", cluster->heads},
                     {"channels", cluster->channels}});
  }
  for (const auto& [site, alpha] : fitted.smooth) {
    steps.push_back({{"name", "smooth"}, {"site", site}, {"alpha", *alpha}});
  }
  for (const auto& [site, block] : fitted.rotate) {
    const bool is_number = block.find_first_not_of("0123456789") == std::string::npos;
    steps.push_back({{"name", "rotate"},
                     {"site", site},
                     {"block", is_number ? Json(std::stoll(block)) : Json(block)}});
  }
  if (!fitted.calibrate.empty()) {
    Json& step = steps.emplace_back(Json{{"name", "calibrate"}});
    if (fitted.calibrate != "built-in") step["data"] = fitted.calibrate;
  }
  if (fitted.round) {
    steps.push_back(fitted.round->is_gptq() ? gptq_step(fitted.round->method)
                                            : Json{{"name", "rtn"}});
    if (fitted.round->scale != StepChoice::absmax) {
      steps.back()["scale"] = name_of(fitted.round->scale);
    }
  }
  return result;
}

}  // namespace krait
