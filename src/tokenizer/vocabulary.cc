#include "tokenizer/vocabulary.h"

#include <bit>
#include <cstring>

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

std::uint64_t load_up_to_8(const char* p, std::size_t n) noexcept {
  std::uint64_t word = 0;
  if (n >= 4) {
    std::uint32_t low, high;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + n - 4, 4);
    word = (std::uint64_t{high} << 32) | low;
  } else if (n > 0) {
    word = static_cast<unsigned char>(p[0]) |
           (std::uint64_t{static_cast<unsigned char>(p[n / 2])} << 8) |
           (std::uint64_t{static_cast<unsigned char>(p[n - 1])} << 16);
  }
  return word;
}

std::uint64_t mix(std::uint64_t x) noexcept {
  x *= 0x9E3779B97F4A7C15u;
  return x ^ (x >> 32);
}

std::uint32_t hash_of(std::string_view key) noexcept {
  const char* p = key.data();
  std::size_t n = key.size();
  std::uint64_t hash = mix(n + 0x51ED270B0A1FCD17u);
  while (n > 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    hash = mix(hash ^ word);
    p += 8;
    n -= 8;
  }
  hash = mix(hash ^ load_up_to_8(p, n));
  return static_cast<std::uint32_t>(hash ^ (hash >> 29));
}

}  // namespace

StringTable::StringTable(std::size_t expected)
    : slots_(std::bit_ceil(std::max<std::size_t>(2 * expected, 16))) {}

void StringTable::grow() {
  std::vector<Slot> old(std::max<std::size_t>(2 * slots_.size(), 16));
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    std::size_t i = slot.hash & (slots_.size() - 1);
    while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = slot;
  }
}

void StringTable::insert(std::string_view key, TokenId id) {
  if (2 * (size_ + 1) > slots_.size()) grow();
  const std::uint32_t hash = hash_of(key);
  std::size_t i = hash & (slots_.size() - 1);
  for (; slots_[i].id >= 0; i = (i + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[i];
    if (slot.hash == hash && std::string_view(keys_).substr(slot.offset, slot.length) == key) {
      return;
    }
  }
  check(keys_.size() + key.size() < UINT32_MAX, ErrorCode::unsupported,
        "a vocabulary of more than 4 GiB");
  slots_[i] = {hash, id, static_cast<std::uint32_t>(keys_.size()),
               static_cast<std::uint32_t>(key.size())};
  keys_.append(key);
  longest_ = std::max(longest_, key.size());
  ++size_;
}

TokenId StringTable::find(std::string_view key) const noexcept {
  if (key.size() > longest_ || slots_.empty()) return -1;
  const std::uint32_t hash = hash_of(key);
  for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[i];
    if (slot.id < 0) return -1;
    if (slot.hash == hash && slot.length == key.size() &&
        std::memcmp(keys_.data() + slot.offset, key.data(), key.size()) == 0) {
      return slot.id;
    }
  }
}

void Vocabulary::add(const std::string& token, TokenId id, const std::string& where) {
  const TokenId other = ids.find(token);
  check(other < 0 || other == id, ErrorCode::bad_data, "{}: token '{:.80}' has the ids {} and {}",
        where, printable(token), other, id);
  const auto index = static_cast<std::size_t>(id);
  if (index >= tokens.size()) {
    tokens.resize(index + 1);
    present.resize(index + 1);
  }
  check(!present[index] || tokens[index] == token, ErrorCode::bad_data,
        "{}: id {} belongs to '{:.80}' and to '{:.80}'", where, id, printable(tokens[index]),
        printable(token));
  ids.insert(token, id);
  tokens[index] = token;
  present[index] = true;
}

}  // namespace krait
