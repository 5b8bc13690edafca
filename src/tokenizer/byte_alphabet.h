// The 256 printable characters that byte-level BPE writes bytes with (GPT-2, 2019): bytes 33-126,
// 161-172 and 174-255 stand for themselves, the others are U+0100 and on, in order.
#pragma once

#include <string>
#include <string_view>

namespace krait {

char32_t byte_to_char(unsigned char byte) noexcept;
/// The byte that a character stands for, or -1.
int char_to_byte(char32_t value) noexcept;

/// Appends the characters for every byte of well-formed `text`, escapes as the byte they hold.
void append_byte_chars(std::string_view text, std::string& out);
/// Appends the bytes that the characters of valid UTF-8 `text` stand for; where one of them stands
/// for none, appends nothing and returns false.
bool append_char_bytes(std::string_view text, std::string& out);

}  // namespace krait
