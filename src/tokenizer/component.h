// Typed access to the members of a tokenizer.json, with errors that name the component.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace krait {

/// A JSON object of tokenizer.json and what to call it in an error: "FILE: pre_tokenizer Split".
struct Component {
  const Json& json;
  std::string where;

  /// Whether the member exists and is not null.
  bool has(const char* key) const;
  /// The member, or null where it is absent.
  const Json& get(const char* key) const;
  bool boolean(const char* key, bool fallback) const;
  std::string string(const char* key) const;
  std::string string(const char* key, const std::string& fallback) const;
  std::size_t count(const char* key) const;  ///< an integer in [0, 1000000]
  const Json& array(const char* key) const;
};

/// Calls leaf(component, type) for the object at `json`, or for every member of the Sequence it is
/// (`list_key` holds them), nested ones included. Null means none. bad_data for anything that is
/// not such a tree or is nested deeper than 16.
template <typename Leaf>
void for_each_component(const Json& json, const char* list_key, const std::string& where,
                        const Leaf& leaf, int depth = 0);

/// Refuses a component by its type and name and says what is supported.
[[noreturn]] void unsupported_component(const Component& component, const std::string& type,
                                        std::string_view supported);

std::string component_type(const Component& component);  ///< its "type"
void check_depth(const Component& component, int depth);

template <typename Leaf>
void for_each_component(const Json& json, const char* list_key, const std::string& where,
                        const Leaf& leaf, int depth) {
  if (json.is_null()) return;
  const Component component{json, where};
  check_depth(component, depth);
  const std::string type = component_type(component);
  if (type == "Sequence") {
    for (const Json& child : component.array(list_key)) {
      for_each_component(child, list_key, where, leaf, depth + 1);
    }
  } else {
    leaf(Component{json, where + " " + type}, type);
  }
}

}  // namespace krait
