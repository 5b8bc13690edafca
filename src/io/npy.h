// NumPy's files of one array (numpy.lib.format), as far as krait needs them: integers are read,
// float32 matrices written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace krait {

/// Where the integers of an array lie in its file, little-endian, to the end of it.
struct NpyIntegers {
  std::size_t offset = 0;  ///< of the first
  std::size_t width = 0;   ///< bytes of each: 2, 4 or 8
  bool is_signed = false;
};

/// Reads the header of a .npy file: "\x93NUMPY", version, length, a Python dictionary. Errors:
/// bad_data, naming `where`, for anything but a one- or two-dimensional array of integers in C
/// order.
NpyIntegers parse_npy_integers(std::string_view bytes, const std::string& where);

/// The header (format 1.0) of a file of float32 [rows, cols] in C order, which follow.
std::string npy_header(std::int64_t rows, std::int64_t cols);

}  // namespace krait
