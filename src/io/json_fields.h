// One object of JSON with its fields by type: of a file that people write for krait (recipes, sweeps), read
// strictly, or of one that other programs write (tokenizer.json), with keys that nobody asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/json_fwd.h"
#include "krait/error.h"

namespace krait {

/// Borrows the object. Every error has the given code, begins with `where` and names the key, what it
/// must be and what it is.
class JsonFields {
 public:
  /// Any keys; one whose value is null is absent. Errors: no object.
  JsonFields(const Json& json, std::string where, ErrorCode code = ErrorCode::bad_data);
  /// Errors: no object; a key that is not among `known`, with the ones there are. Null is a value.
  JsonFields(const Json& json, std::string where, const std::vector<std::string>& known,
             ErrorCode code = ErrorCode::invalid_argument);

  bool has(const char* key) const;
  const Json& at(const char* key) const;   ///< Error: the key is missing
  const Json& get(const char* key) const;  ///< null where the key is absent
  const Json& list(const char* key) const;
  std::string text(const char* key) const;
  std::string text(const char* key, const std::string& fallback) const;
  bool flag(const char* key, bool fallback) const;
  int integer(const char* key) const;  ///< from 0 to 2^20
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const;
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high,
                       std::int64_t fallback) const;
  double number(const char* key, double low, double high, double fallback) const;
  /// Lists of at least one element; `fallback` if the key is absent.
  std::vector<std::string> texts(const char* key,
                                 const std::vector<std::string>& fallback = {}) const;
  std::vector<std::int64_t> integers(const char* key, std::int64_t low, std::int64_t high,
                                     const std::vector<std::int64_t>& fallback) const;
  const std::string& where() const { return where_; }

 private:
  const Json& json_;
  std::string where_;
  ErrorCode code_;
  bool strict_;
};

}  // namespace krait
