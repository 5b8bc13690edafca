// nlohmann::json with the habits of Hugging Face files: bare Infinity, -Infinity and NaN, and
// {"__float__": "Infinity"}, are read as numbers; errors name the file, line and column.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/file.h"
#include "io/json_fwd.h"

namespace krait {

/// What a key that occurs twice in one object means: Python keeps the last value.
enum class DuplicateKeys { keep_last, refuse };

/// Nesting deeper than 200 is refused, so that code which recurses over the result is safe.
/// A UTF-8 byte order mark is skipped. Error: bad_data, "WHERE:LINE:COLUMN: invalid JSON: ...".
Json parse_json(std::string_view text, const std::string& where,
                DuplicateKeys duplicates = DuplicateKeys::keep_last);
/// The same with the keys of each object in the order of the text.
OrderedJson parse_ordered_json(std::string_view text, const std::string& where);
Json read_json_file(const std::string& path);  ///< not_found, io_error, bad_data

/// The text of a file, indented by 2, in UTF-8 (other bytes are replaced), with a newline at its
/// end. Infinity and NaN, which JSON has not, as {"__float__": "Infinity"}.
std::string format_json(const Json& json);

}  // namespace krait
