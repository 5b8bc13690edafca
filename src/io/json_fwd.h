// The name Json, for headers that only pass references on: io/json.h costs every file that includes it
// more than a second of compile time.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace krait {

using Json = nlohmann::json;                 ///< sorts the keys of an object
using OrderedJson = nlohmann::ordered_json;  ///< keeps their order

}  // namespace krait
