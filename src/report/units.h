// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace krait {

std::string format_bytes(double bytes);  ///< "0 B", "512 B", "3.62 MB", "1.25 GB" (powers of 1000)
std::string format_count(double count);  ///< "512", "3.6M", "2.77B"
std::string format_duration(double seconds);  ///< "0.8 s", "42 s", "3:05", "1:02:03"
std::string format_rate(double per_second);   ///< three significant digits: "0.123", "12.3", "1234"

}  // namespace krait
