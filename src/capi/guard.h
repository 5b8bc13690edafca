// What every function of krait.h goes through: no exception leaves, no argument is trusted, and
// what is handed out is the caller's.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>

#include "core/check.h"
#include "krait/krait.h"

namespace krait::capi {

/// The status of an error, whose sentence krait_last_error() then has. Call it in a catch block.
krait_status caught() noexcept;

template <typename Fn>
krait_status guarded(Fn&& run) noexcept {
  try {
    run();
    return KRAIT_OK;
  } catch (...) {
    return caught();
  }
}

template <typename T>
T& given(T* argument, const char* name) {
  check(argument != nullptr, ErrorCode::invalid_argument, "the argument {} is NULL", name);
  return *argument;
}

/// Where something is handed out: nothing yet.
template <typename T>
T& cleared(T* out, const char* name) {
  return given(out, name) = T{};
}

template <typename T>
std::span<const T> list(const T* first, std::size_t count, const char* name) {
  check(first != nullptr || count == 0, ErrorCode::invalid_argument,
        "the argument {} is NULL, expected {} elements", name, count);
  return {first, count};
}

inline std::string_view text(const char* first, std::size_t length, const char* name) {
  const std::span<const char> bytes = list(first, length, name);
  return {bytes.data(), bytes.size()};
}

/// A copy for krait_free(), with zeros behind it.
template <typename Range, typename T>
void hand_out(const Range& from, T** to, std::size_t* count) {
  const std::span values(from);
  void* const memory = std::calloc(values.size_bytes() + sizeof(values[0]), 1);
  if (!memory) throw std::bad_alloc();
  if (!values.empty()) std::memcpy(memory, values.data(), values.size_bytes());
  *to = static_cast<T*>(memory);
  *count = values.size();
}

template <typename T>
void check_size(std::size_t size, const char* name) {
  static_assert(std::is_trivially_copyable_v<T>);
  check(size >= sizeof(std::size_t) && size <= sizeof(T), ErrorCode::invalid_argument,
        "{} is {} bytes long by its size, expected {} or, of a header of an earlier version, less: "
        "the size is not set, or the header is of a later version than the library",
        name, size, sizeof(T));
}

/// A struct of the caller's, or NULL. What its version does not have keeps its default.
template <typename T>
T completed(const T* from, T defaults, const char* name) {
  if (!from) return defaults;
  check_size<T>(from->size, name);
  std::memcpy(&defaults, from, from->size);
  return defaults;
}

/// As much of `value` as a struct of the caller's has, whose size is `size`.
template <typename T>
void fill(T* to, std::size_t size, T value, const char* name) {
  check_size<T>(size, name);
  value.size = size;
  std::memcpy(&given(to, name), &value, size);
}

}  // namespace krait::capi
