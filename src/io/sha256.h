// SHA-256 (FIPS 180-4), for the provenance of checkpoints and calibration data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace krait {

class Sha256 {
 public:
  void update(std::string_view data) noexcept;
  /// The digest of everything so far as 64 hexadecimal digits. Call it once, last.
  std::string hex() noexcept;

 private:
  void compress(const unsigned char* block) noexcept;

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> buffer_{};
  std::uint64_t length_ = 0;  ///< bytes
};

std::string sha256_hex(std::string_view data);
/// The digest of a file, read as a stream. Errors: not_found, io_error.
std::string sha256_file_hex(const std::string& path);

}  // namespace krait
