#include "models/config.h"

#include <cmath>

#include "core/check.h"
#include "io/json.h"

namespace krait {
namespace {

/// The value of a key, or nullptr if it is absent or null.
const Json* find(const Json& config, std::string_view key) {
  if (!config.is_object()) return nullptr;
  const auto it = config.find(key);
  return it == config.end() || it->is_null() ? nullptr : &*it;
}

/// A value for a message: short, whatever the file holds.
std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : text.substr(0, 40) + "...";
}

}  // namespace

std::optional<std::int64_t> config_dim(const Json& config,
                                       std::initializer_list<std::string_view> keys) {
  for (std::string_view key : keys) {
    const Json* value = find(config, key);
    if (!value || *value == "auto") continue;
    const bool valid =
        value->is_number_integer() && *value >= 1 && *value < (std::int64_t{1} << 31);
    if (!valid) {
      fail(ErrorCode::bad_data,
           "config.json: {} must be a whole number between 1 and 2^31 - 1, got {}", key,
           shown(*value));
    }
    return value->get<std::int64_t>();
  }
  return std::nullopt;
}

std::optional<double> config_positive(const Json& config,
                                      std::initializer_list<std::string_view> keys) {
  for (std::string_view key : keys) {
    const Json* value = find(config, key);
    if (!value) continue;
    const double number = value->is_number() ? value->get<double>() : -1.0;
    if (!(number > 0) || !std::isfinite(number)) {
      fail(ErrorCode::bad_data, "config.json: {} must be a number above 0, got {}", key,
           shown(*value));
    }
    return number;
  }
  return std::nullopt;
}

std::optional<bool> config_bool(const Json& config, std::string_view key) {
  const Json* value = find(config, key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) {
    fail(ErrorCode::bad_data, "config.json: {} must be true or false, got {}", key, shown(*value));
  }
  return value->get<bool>();
}

std::string config_string(const Json& config, std::string_view key) {
  const Json* value = find(config, key);
  if (!value) return "";
  if (!value->is_string()) {
    fail(ErrorCode::bad_data, "config.json: {} must be a string, got {}", key, shown(*value));
  }
  return value->get<std::string>();
}

const Json& config_object(const Json& config, std::string_view key) {
  static const Json empty = Json::object();
  const Json* value = find(config, key);
  if (!value) return empty;
  if (!value->is_object()) {
    fail(ErrorCode::bad_data, "config.json: {} must be an object, got {}", key, shown(*value));
  }
  return *value;
}

std::vector<std::int32_t> eos_token_ids(const Json& config, const Json& generation_config,
                                        std::int64_t vocab_rows) {
  const Json* value = find(generation_config, "eos_token_id");
  const std::string_view file = value ? "generation_config.json" : "config.json";
  if (!value) value = find(config, "eos_token_id");
  if (!value) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<std::int32_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer()) {
      fail(ErrorCode::bad_data, "{}: eos_token_id must be a token id or a list of them, got {}",
           file, shown(*value));
    }
    if (id >= 0 && id < vocab_rows) ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

}  // namespace krait
