// The result files of krait sweep: read from the directories of all shards and machines, and held
// against one another.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/json.h"
#include "report/table.h"

namespace krait {

/// By name, "krait-demo~krait-w8a8".
using Results = std::map<std::string, Json>;

/// Result files of all directories; of one name that is there several times the first that is no
/// failure. Other JSON files are passed over. Errors: not_found for a missing directory or without
/// any result; bad_data, naming both files and what differs, unless all were made with the same
/// settings, and those of one model or recipe with the same model and recipe.
Results read_results(const std::vector<std::string>& directories);

/// One file for each, in a directory that is made if it is missing. Errors: io_error; bad_data,
/// before any is written, if a file of one of those names is no result.
void write_results(const Results& results, const std::string& directory);

/// Whether a file of JSON is a result of a sweep.
bool is_result(const Json& json);
/// Whether a result says why there is none.
bool is_failure(const Json& result);

/// A number somewhere below, or NaN.
double number_at(const Json& result, const std::string& pointer);
/// A text, or "?".
std::string text_at(const Json& result, const std::string& pointer);
/// The divergence on the first text of the settings, or null.
Json first_text(const Json& result);

/// One line for each result.
Table result_table(const Results& results);

}  // namespace krait
