// The name Json, for headers that only pass references on: io/json.h costs every file that includes it
// more than a second of compile time.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace krait {

using Json = nlohmann::json;

}  // namespace krait
