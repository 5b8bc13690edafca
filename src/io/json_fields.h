// One object of a file that people write (recipes, sweeps), read strictly: fields by type, and keys
// that nobody was told of are refused with the ones there are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/json_fwd.h"
#include "krait/error.h"

namespace krait {

/// Borrows the object. Every error has the given code and begins with `where`.
class JsonFields {
 public:
  /// Errors: no object; a key that is not among `known`.
  JsonFields(const Json& json, std::string where, const std::vector<std::string>& known,
             ErrorCode code = ErrorCode::invalid_argument);

  bool has(const char* key) const;
  const Json& at(const char* key) const;  ///< Error: the key is missing
  std::string text(const char* key) const;
  std::string text(const char* key, const std::string& fallback) const;
  bool flag(const char* key, bool fallback) const;
  int integer(const char* key) const;  ///< from 0 to 2^20
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
};

}  // namespace krait
