// Plain structs as text, by their fields(): what fingerprint.h and its test need of them.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "models/decoder_config.h"
#include "models/layout.h"

namespace krait {

inline void fields_of(auto&& fn, const QuantArgs& a, const QuantArgs& b) {
  fn("bits", a.bits, b.bits);
  fn("is_float", a.is_float, b.is_float);
  fn("symmetric", a.symmetric, b.symmetric);
  fn("strategy", a.strategy, b.strategy);
  fn("group_size", a.group_size, b.group_size);
  fn("codes", a.codes, b.codes);
  fn("dynamic", a.dynamic, b.dynamic);
  fn("outlier_threshold", a.outlier_threshold, b.outlier_threshold);
}

inline void fields_of(auto&& fn, const ActivationNumerics& a, const ActivationNumerics& b) {
  fn("quantized", a.quantized, b.quantized);
  fn("args", a.args, b.args);
  fn("hadamard_block", a.hadamard_block, b.hadamard_block);
}

template <typename T>
void fields_of(auto&& fn, const T& a, const T& b)
  requires requires { T::fields(fn, a, b); }
{
  T::fields(fn, a, b);
}

/// Appends what of `value` differs from `otherwise`, a struct as "{name=value;...}".
template <typename T>
void append_value(std::string& text, const T& value, const T& otherwise);

template <typename T>
void append_fields(std::string& text, const T& value, const T& otherwise) {
  fields_of(
      [&]<typename F>(std::string_view name, const F& own, const F& plain) {
        std::string inner;
        append_value(inner, own, plain);
        if (!inner.empty()) text += fmt::format("{}={};", name, inner);
      },
      value, otherwise);
}

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsVariant : std::false_type {};
template <typename... T>
struct IsVariant<std::variant<T...>> : std::true_type {};

template <typename T>
void append_value(std::string& text, const T& value, const T& otherwise) {
  if constexpr (IsVector<T>::value) {
    for (const auto& element : value) {
      std::string inner;
      append_value(inner, element, {});
      text += fmt::format("[{}]", inner);
    }
  } else if constexpr (IsVariant<T>::value) {
    text += fmt::format("{}", value.index());  // alternatives are added at the end
    std::visit([&]<typename S>(const S& spec) { append_value(text, spec, S{}); }, value);
  } else if constexpr (std::is_enum_v<T>) {
    if (value != otherwise) text += fmt::format("{}", static_cast<int>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    if (value != otherwise) text += fmt::format("{}", value);
  } else if constexpr (std::same_as<T, std::string>) {
    if (value != otherwise) text += fmt::format("'{}'", value);
  } else {
    std::string inner;
    append_fields(inner, value, otherwise);
    if (!inner.empty()) text += fmt::format("{{{}}}", inner);
  }
}

}  // namespace krait
