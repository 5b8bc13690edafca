// The parts of a tokenizer.json: objects with a "type", or Sequences of them.
#pragma once

#include <string>
#include <string_view>

#include "core/check.h"
#include "io/json.h"
#include "io/json_fields.h"

namespace krait {

/// Refuses the `type` of what lies at `where` and says what is supported.
[[noreturn]] inline void unsupported_component(std::string_view where, std::string_view type,
                                               std::string_view supported) {
  // The name comes from the file: the sentence is short whatever it holds.
  fail(ErrorCode::unsupported, "{:.120} is not supported: expected {}, got '{:.60}'", where,
       supported, type);
}

/// Calls leaf(fields, type) for the object at `json`, or for every member of the Sequence it is
/// (`list_key` holds them), nested ones included; the fields' where() ends with the type. Null means
/// none. bad_data for anything that is not such a tree or is nested deeper than 16.
template <typename Leaf>
void for_each_component(const Json& json, const char* list_key, const std::string& where,
                        const Leaf& leaf, int depth = 0) {
  if (json.is_null()) return;
  check(depth <= 16, ErrorCode::bad_data, "{}: sequences nested deeper than 16", where);
  const JsonFields component(json, where);
  const std::string type = component.text("type");
  if (type != "Sequence") {
    leaf(JsonFields(json, where + " " + type), type);
    return;
  }
  for (const Json& child : component.list(list_key)) {
    for_each_component(child, list_key, where, leaf, depth + 1);
  }
}

}  // namespace krait
