// Typed reading of config.json: what is absent or null is no value, what has the wrong type or an
// impossible value is an error that names the key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "io/json_fwd.h"

namespace krait {

/// The first of `keys` that is present, in [1, 2^31). "auto" counts as absent. Errors: bad_data.
std::optional<std::int64_t> config_dim(const Json& config,
                                       std::initializer_list<std::string_view> keys);
/// The first of `keys` that is present, finite and above 0. Errors: bad_data.
std::optional<double> config_positive(const Json& config,
                                      std::initializer_list<std::string_view> keys);
std::optional<bool> config_bool(const Json& config, std::string_view key);
/// The value of a key that holds a string; "" if it is absent.
std::string config_string(const Json& config, std::string_view key);
/// The object below `key`, or an empty object.
const Json& config_object(const Json& config, std::string_view key);

/// Tokens that end a text: eos_token_id (a number or a list) of generation_config.json, which
/// overrides config.json. Ids outside [0, vocab_rows) are dropped. Errors: bad_data.
std::vector<std::int32_t> eos_token_ids(const Json& config, const Json& generation_config,
                                        std::int64_t vocab_rows);

}  // namespace krait
