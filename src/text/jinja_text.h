// Methods of Python's str over UTF-8: what they count is code points, what they call space, upper
// case or printable is Unicode's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace krait::jinja {

std::vector<std::string_view> characters(std::string_view text);  ///< one view per code point
std::int64_t count_characters(std::string_view text);

enum class Side { left, right, both };
/// strip(), lstrip(), rstrip(); `unwanted` holds the characters to take away, white space without.
std::string_view strip(std::string_view text, Side side,
                       std::optional<std::string_view> unwanted = std::nullopt);
/// split() and rsplit() at white space (no separator) or at a separator that is not empty, at most
/// `most` times unless it is negative; from the right where `from_right` is set.
std::vector<std::string_view> split(std::string_view text,
                                    std::optional<std::string_view> separator, std::int64_t most,
                                    bool from_right);
/// splitlines(): at every line end of Unicode.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);
/// How often `part` stands in `text` without overlaps, the empty one once around each character.
std::int64_t count_parts(std::string_view text, std::string_view part);
/// At most `most` times unless it is negative.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    std::int64_t most);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);  ///< str.title(): each run of letters
/// Whether there are letters with a case, all of them this one.
bool is_upper(std::string_view text);
bool is_lower(std::string_view text);

/// Decimal digits of other scripts, which Python reads as numbers.
bool has_digits_beyond_ascii(std::string_view text);

/// repr(): in quotes, with escapes.
std::string quoted(std::string_view text);
/// As json.dumps writes a string.
std::string json_quoted(std::string_view text, bool ascii);

}  // namespace krait::jinja
