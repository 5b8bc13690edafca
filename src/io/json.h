// nlohmann::json with the habits of Hugging Face files: bare Infinity, -Infinity and NaN, and
// {"__float__": "Infinity"}, are read as numbers; errors name the file, line and column.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace krait {

using Json = nlohmann::json;

Json parse_json(std::string_view text, const std::string& where);  ///< bad_data on error
Json read_json_file(const std::string& path);                      ///< not_found, bad_data
/// The whole file as bytes. Errors: not_found, io_error.
std::string read_file(const std::string& path);
/// Writes to a temporary name beside `path`, syncs, renames: all or nothing. Error: io_error.
void write_file_atomic(const std::string& path, std::string_view content);

}  // namespace krait
