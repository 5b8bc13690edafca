#include "io/sha256.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "io/file.h"

namespace krait {
namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::array<std::uint32_t, 64> kRound{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t big_endian(const unsigned char* p) noexcept {
  std::uint32_t value = 0;
  std::memcpy(&value, p, sizeof value);
  return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}

}  // namespace

void Sha256::compress(const unsigned char* block) noexcept {
  std::array<std::uint32_t, 16> w;
  for (std::size_t i = 0; i < 16; ++i) w[i] = big_endian(block + 4 * i);
  std::array<std::uint32_t, 8> s = state_;
  // The standard's a to h move by one place in each round; here the places stay and the names move:
  // in round t the variable that began as number k is s[(k - t) mod 8].
  const auto round = [&s](std::size_t t, std::uint32_t word) {
    const auto at = [&s, t](std::size_t k) -> std::uint32_t& { return s[(k - t) % 8]; };
    const std::uint32_t a = at(0), b = at(1), c = at(2), e = at(4), f = at(5), g = at(6);
    const std::uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const std::uint32_t choose = g ^ (e & (f ^ g));
    const std::uint32_t t1 = at(7) + sum1 + choose + kRound[t] + word;
    const std::uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const std::uint32_t majority = (a & b) ^ (c & (a ^ b));
    at(3) += t1;
    at(7) = t1 + sum0 + majority;
  };
#pragma GCC unroll 16
  for (std::size_t t = 0; t < 16; ++t) round(t, w[t]);
  for (std::size_t base = 16; base < 64; base += 16) {
    // The schedule lives in 16 words: w[t mod 16] becomes word t just before round t.
#pragma GCC unroll 16
    for (std::size_t i = 0; i < 16; ++i) {
      const std::uint32_t w15 = w[(i + 1) % 16], w2 = w[(i + 14) % 16];
      const std::uint32_t s0 = std::rotr(w15, 7) ^ std::rotr(w15, 18) ^ (w15 >> 3);
      const std::uint32_t s1 = std::rotr(w2, 17) ^ std::rotr(w2, 19) ^ (w2 >> 10);
      w[i] += s0 + w[(i + 9) % 16] + s1;
      round(base + i, w[i]);
    }
  }
  for (std::size_t i = 0; i < 8; ++i) state_[i] += s[i];  // 64 rounds: every name is home again
}

void Sha256::update(std::string_view data) noexcept {
  if (data.empty()) return;
  const std::size_t used = length_ % 64;
  length_ += data.size();
  if (used > 0) {
    const std::size_t part = std::min(data.size(), 64 - used);
    std::memcpy(buffer_.data() + used, data.data(), part);
    data.remove_prefix(part);
    if (used + part < 64) return;
    compress(buffer_.data());
  }
  for (; data.size() >= 64; data.remove_prefix(64)) {
    compress(reinterpret_cast<const unsigned char*>(data.data()));
  }
  if (!data.empty()) std::memcpy(buffer_.data(), data.data(), data.size());
}

std::string Sha256::hex() noexcept {
  const std::uint64_t bits = length_ * 8;
  std::array<char, 72> padding{static_cast<char>(0x80)};
  const std::size_t zeros = (119 - length_ % 64) % 64;  // up to 8 bytes short of a block
  for (std::size_t i = 0; i < 8; ++i)
    padding[1 + zeros + i] = static_cast<char>(bits >> (56 - 8 * i));
  update({padding.data(), 1 + zeros + 8});
  std::string text;
  for (const std::uint32_t word : state_) text += fmt::format("{:08x}", word);
  return text;
}

std::string sha256_hex(std::string_view data) {
  Sha256 hash;
  hash.update(data);
  return hash.hex();
}

std::string sha256_file_hex(const std::string& path) {
  Sha256 hash;
  read_stream(path, [&](std::string_view piece) { hash.update(piece); });
  return hash.hex();
}

}  // namespace krait
