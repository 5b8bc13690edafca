#include "tokenizer/component.h"

#include "core/check.h"

namespace krait {

const Json& Component::get(const char* key) const {
  static const Json null;
  if (!json.is_object()) fail(ErrorCode::bad_data, "{}: expected an object", where);
  const auto it = json.find(key);
  return it == json.end() ? null : *it;
}

bool Component::has(const char* key) const { return !get(key).is_null(); }

bool Component::boolean(const char* key, bool fallback) const {
  const Json& value = get(key);
  if (value.is_null()) return fallback;
  check(value.is_boolean(), ErrorCode::bad_data, "{}: '{}' must be true or false, got {}", where,
        key, value.type_name());
  return value.get<bool>();
}

std::string Component::string(const char* key) const {
  const Json& value = get(key);
  check(value.is_string(), ErrorCode::bad_data, "{}: '{}' must be a string, got {}", where, key,
        value.type_name());
  return value.get<std::string>();
}

std::string Component::string(const char* key, const std::string& fallback) const {
  return has(key) ? string(key) : fallback;
}

std::size_t Component::count(const char* key) const {
  const Json& value = get(key);
  check(value.is_number_unsigned() && value.get<std::uint64_t>() <= 1000000, ErrorCode::bad_data,
        "{}: '{}' must be an integer from 0 to 1000000", where, key);
  return value.get<std::size_t>();
}

const Json& Component::array(const char* key) const {
  const Json& value = get(key);
  check(value.is_array(), ErrorCode::bad_data, "{}: '{}' must be an array, got {}", where, key,
        value.type_name());
  return value;
}

void unsupported_component(const Component& component, const std::string& type,
                           std::string_view supported) {
  // The name comes from the file: keep the sentence short whatever it holds.
  fail(ErrorCode::unsupported, "{:.120} is not supported: expected {}, got '{:.60}'",
       component.where, supported, type);
}

std::string component_type(const Component& component) { return component.string("type"); }

void check_depth(const Component& component, int depth) {
  check(depth <= 16, ErrorCode::bad_data, "{}: sequences nested deeper than 16", component.where);
}

}  // namespace krait
