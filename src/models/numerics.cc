// The numerics of activations, as a quantized checkpoint's config.json states them.
#include <algorithm>

#include "core/check.h"
#include "core/printable.h"
#include "io/json.h"
#include "kernels/hadamard/hadamard.h"
#include "models/config.h"
#include "models/model.h"

namespace krait {
namespace {

constexpr std::string_view kWhere = "config.json: quantization_config.krait.activations";

std::string roles_of(const ModelLayout& layout) {
  std::vector<std::string> roles;
  for (const ActivationSite& site : layout.activations) {
    if (std::find(roles.begin(), roles.end(), site.role) == roles.end()) roles.push_back(site.role);
  }
  return fmt::format("{}", fmt::join(roles, ", "));
}

ActivationNumerics parse_one(const Json& entry, const ActivationSite& site) {
  const std::string where = fmt::format("{}.{}", kWhere, site.role);
  check(entry.is_object(), ErrorCode::bad_data, "{} must be an object", where);
  for (const auto& [key, value] : entry.items()) {
    const bool known = key == "bits" || key == "type" || key == "strategy" || key == "dynamic" ||
                       key == "symmetric" || key == "hadamard_block" || key == "outlier_threshold";
    check(
        known, ErrorCode::bad_data,
        "{}: unknown key {}, known are: bits, type, strategy, dynamic, symmetric, hadamard_block, "
        "outlier_threshold",
        where, printable(key));
  }
  ActivationNumerics numerics;
  if (const auto block = config_dim(entry, {"hadamard_block"})) {
    check(site.rotatable, ErrorCode::unsupported, "{}: this site cannot be rotated", where);
    const std::int64_t n = site.group_channels();
    check(n % *block == 0 && hadamard_supported(*block), ErrorCode::unsupported,
          "{}: there is no Hadamard transform of {} channels in blocks of {}", where, n, *block);
    numerics.hadamard_block = *block;
  }
  const auto bits = config_dim(entry, {"bits"});
  if (!bits) {
    check(numerics.hadamard_block > 0 && entry.size() == 1, ErrorCode::bad_data, "{} has no bits",
          where);
    return numerics;
  }
  numerics.quantized = true;
  const std::string type = config_string(entry, "type");
  const std::string strategy = config_string(entry, "strategy");
  const auto parsed = parse_strategy(strategy.empty() ? "tensor" : strategy);
  QuantArgs& args = numerics.args;
  args.bits = static_cast<int>(*bits);
  args.is_float = type == "float";
  args.dynamic = config_bool(entry, "dynamic").value_or(false);
  args.strategy = parsed.value_or(Strategy::group);
  args.outlier_threshold =
      static_cast<float>(config_positive(entry, {"outlier_threshold"}).value_or(0));
  const bool valid = (type.empty() || type == "int" || type == "float") && parsed &&
                     config_bool(entry, "symmetric").value_or(true);
  const std::string name = valid ? format_name(args) : "";
  const std::string refusal = format_refusal(format_site(site), name, Format::Where::checkpoint);
  check(refusal.empty(), ErrorCode::unsupported, "{} is {}: {}", where,
        entry.dump(-1, ' ', true, Json::error_handler_t::replace), refusal);
  return numerics;
}

}  // namespace

std::string rotation_conflict(const ModelLayout& layout,
                              const std::map<std::string, ActivationNumerics>& numerics) {
  const auto of = [&](const std::string& role) {
    const auto found = numerics.find(role);
    return found == numerics.end() ? ActivationNumerics{} : found->second;
  };
  const ActivationSite* first = nullptr;
  bool has_static_state = false;
  for (const ActivationSite& site : layout.activations) {
    const ActivationNumerics its = of(site.role);
    has_static_state |=
        site.kind == "state" && its.quantized && !its.args.is_float && !its.args.dynamic;
    if (site.kind != "value" || !site.rotatable) continue;
    if (!first) first = &site;
    const std::int64_t block = of(first->role).hadamard_block;
    if (its.hadamard_block != block) {
      return fmt::format("{} and {} must be rotated alike, got blocks of {} and {}", first->role,
                         site.role, std::max<std::int64_t>(block, 1),
                         std::max<std::int64_t>(its.hadamard_block, 1));
    }
  }
  if (!first || !has_static_state || of(first->role).hadamard_block == 0) return "";
  return fmt::format("an int8 state with static scales cannot be rotated, {} rotates it",
                     first->role);
}

std::map<std::string, ActivationNumerics> parse_numerics(const Json& config,
                                                         const ModelLayout& layout) {
  std::map<std::string, ActivationNumerics> result;
  const Json& quantization = config_object(config, "quantization_config");
  if (quantization.empty()) return result;
  const Json& krait = config_object(quantization, "krait");
  check(
      !krait.empty(), ErrorCode::unsupported,
      "config.json: quantization_config has no krait block, only checkpoints that krait quantized "
      "can be run");
  const auto version = config_dim(krait, {"format_version"}).value_or(1);
  check(
      version == 1, ErrorCode::unsupported,
      "config.json: quantization_config.krait.format_version {} is newer than this program, which "
      "knows 1",
      version);
  for (const auto& [role, entry] : config_object(krait, "activations").items()) {
    const std::string& wanted = role;
    const auto site =
        std::find_if(layout.activations.begin(), layout.activations.end(),
                     [&](const ActivationSite& candidate) { return candidate.role == wanted; });
    check(site != layout.activations.end(), ErrorCode::bad_data,
          "{}: unknown site {}, known are: {}", kWhere, printable(role), roles_of(layout));
    result[role] = parse_one(entry, *site);
  }
  const std::string conflict = rotation_conflict(layout, result);
  check(conflict.empty(), ErrorCode::unsupported, "{}: {}", kWhere, conflict);
  return result;
}

}  // namespace krait
