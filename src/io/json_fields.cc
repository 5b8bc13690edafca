#include "io/json_fields.h"

#include <algorithm>

#include "core/check.h"
#include "core/choices.h"
#include "core/printable.h"
#include "io/json.h"

namespace krait {
namespace {

std::string shown(const Json& value) {
  return value.is_structured()
             ? value.type_name()
             : printable(value.dump(-1, ' ', true, Json::error_handler_t::replace), 64);
}

bool is_integer_within(const Json& value, std::int64_t low, std::int64_t high) {
  return value.is_number_integer() && value >= low && value <= high;
}

}  // namespace

JsonFields::JsonFields(const Json& json, std::string where, ErrorCode code)
    : json_(json), where_(std::move(where)), code_(code), strict_(false) {
  check(json.is_object(), code_, "{}: an object is expected, got {}", where_, json.type_name());
}

JsonFields::JsonFields(const Json& json, std::string where, const std::vector<std::string>& known,
                       ErrorCode code)
    : JsonFields(json, std::move(where), code) {
  strict_ = true;
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      fail(code_, "{}: unknown key {}", where_, unknown_name(key, known));
    }
  }
}

bool JsonFields::has(const char* key) const {
  const auto it = json_.find(key);
  return it != json_.end() && (strict_ || !it->is_null());
}

const Json& JsonFields::at(const char* key) const {
  check(has(key), code_, "{}: the key \"{}\" is missing", where_, key);
  return *json_.find(key);
}

const Json& JsonFields::get(const char* key) const {
  static const Json null;
  return has(key) ? at(key) : null;
}

const Json& JsonFields::list(const char* key) const {
  check(at(key).is_array(), code_, "{}: \"{}\" must be a list, got {}", where_, key,
        at(key).type_name());
  return at(key);
}

std::string JsonFields::text(const char* key) const {
  check(at(key).is_string(), code_, "{}: \"{}\" must be a string, got {}", where_, key,
        at(key).type_name());
  return at(key).get<std::string>();
}

std::string JsonFields::text(const char* key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}

bool JsonFields::flag(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  check(at(key).is_boolean(), code_, "{}: \"{}\" must be true or false, got {}", where_, key,
        at(key).type_name());
  return at(key).get<bool>();
}

int JsonFields::integer(const char* key) const {
  return static_cast<int>(integer(key, 0, 1 << 20));
}

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high) const {
  const Json& value = at(key);
  if (!is_integer_within(value, low, high)) {
    fail(code_, "{}: \"{}\" must be a whole number from {} to {}, got {}", where_, key, low, high,
         shown(value));
  }
  return value.get<std::int64_t>();
}

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high,
                                 std::int64_t fallback) const {
  return has(key) ? integer(key, low, high) : fallback;
}

double JsonFields::number(const char* key, double low, double high, double fallback) const {
  if (!has(key)) return fallback;
  const Json& value = at(key);
  const double x = value.is_number() ? value.get<double>() : low - 1;
  if (!(x >= low && x <= high)) {
    fail(code_, "{}: \"{}\" must be a number from {} to {}, got {}", where_, key, low, high,
         shown(value));
  }
  return x;
}

std::vector<std::string> JsonFields::texts(const char* key,
                                           const std::vector<std::string>& fallback) const {
  if (!has(key)) return fallback;
  const Json& list = at(key);
  std::vector<std::string> values;
  check(list.is_array() && !list.empty(), code_, "{}: \"{}\" must be a list of strings, got {}",
        where_, key, list.is_array() ? "none" : list.type_name());
  for (const Json& element : list) {
    check(element.is_string(), code_, "{}: \"{}\" must be a list of strings, one is {}", where_,
          key, element.type_name());
    values.push_back(element.get<std::string>());
  }
  return values;
}

std::vector<std::int64_t> JsonFields::integers(const char* key, std::int64_t low, std::int64_t high,
                                               const std::vector<std::int64_t>& fallback) const {
  if (!has(key)) return fallback;
  const Json& list = at(key);
  std::vector<std::int64_t> values;
  check(list.is_array() && !list.empty(), code_,
        "{}: \"{}\" must be a list of whole numbers, got {}", where_, key,
        list.is_array() ? "none" : list.type_name());
  for (const Json& element : list) {
    if (!is_integer_within(element, low, high)) {
      fail(code_, "{}: \"{}\" must be a list of whole numbers from {} to {}, got {}", where_, key,
           low, high, shown(element));
    }
    values.push_back(element.get<std::int64_t>());
  }
  return values;
}

}  // namespace krait
