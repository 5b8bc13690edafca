// Files of many prompts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace krait::cli {

/// A prompt a line; or JSON lines, {"prompt": TEXT}, if the first is such. Lines without anything
/// are passed over. `where` stands before errors. Errors: bad_data for a line that is not like the
/// first, with its number; invalid_argument if there is no prompt at all.
std::vector<std::string> parse_prompts(std::string_view text, const std::string& where);

}  // namespace krait::cli
