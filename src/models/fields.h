// Plain structs as text: what of their members differs from a default, whatever the members are.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <string>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

namespace krait {

/// Converts to whatever a member is.
struct AnyMember {
  template <typename T>
  operator T() const;  // never defined: for counting
};

/// The members of an aggregate: how many initializers it takes.
template <typename T, typename... Args>
constexpr std::size_t count_members() {
  if constexpr (requires { T{Args{}..., AnyMember{}}; }) {
    return count_members<T, Args..., AnyMember>();
  } else {
    return sizeof...(Args);
  }
}

/// References to the members of an aggregate of at most twelve, in their order.
template <typename T>
auto members_of(const T& x) {
  constexpr std::size_t n = count_members<T>();
  static_assert(n >= 1 && n <= 12, "members_of knows structs of up to twelve members");
  // clang-format off
  if constexpr (n == 1) { const auto& [a] = x; return std::tie(a); }
  else if constexpr (n == 2) { const auto& [a, b] = x; return std::tie(a, b); }
  else if constexpr (n == 3) { const auto& [a, b, c] = x; return std::tie(a, b, c); }
  else if constexpr (n == 4) { const auto& [a, b, c, d] = x; return std::tie(a, b, c, d); }
  else if constexpr (n == 5) { const auto& [a, b, c, d, e] = x; return std::tie(a, b, c, d, e); }
  else if constexpr (n == 6) { const auto& [a, b, c, d, e, f] = x; return std::tie(a, b, c, d, e, f); }
  else if constexpr (n == 7) { const auto& [a, b, c, d, e, f, g] = x; return std::tie(a, b, c, d, e, f, g); }
  else if constexpr (n == 8) { const auto& [a, b, c, d, e, f, g, h] = x; return std::tie(a, b, c, d, e, f, g, h); }
  else if constexpr (n == 9) { const auto& [a, b, c, d, e, f, g, h, i] = x; return std::tie(a, b, c, d, e, f, g, h, i); }
  else if constexpr (n == 10) { const auto& [a, b, c, d, e, f, g, h, i, j] = x; return std::tie(a, b, c, d, e, f, g, h, i, j); }
  else if constexpr (n == 11) { const auto& [a, b, c, d, e, f, g, h, i, j, k] = x; return std::tie(a, b, c, d, e, f, g, h, i, j, k); }
  else { const auto& [a, b, c, d, e, f, g, h, i, j, k, l] = x; return std::tie(a, b, c, d, e, f, g, h, i, j, k, l); }
  // clang-format on
}

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsVariant : std::false_type {};
template <typename... T>
struct IsVariant<std::variant<T...>> : std::true_type {};

/// What of `value` differs from `otherwise`: a number as it is, a string in quotes, each element of
/// a list in brackets, a struct as {index=value;...}, of a variant the index before the value. So a
/// member or alternative that is added at the end changes no text that does not use it.
template <typename T>
std::string text_of_difference(const T& value, const T& otherwise) {
  std::string text;
  if constexpr (IsVector<T>::value) {
    for (const auto& element : value) {
      text += fmt::format("[{}]", text_of_difference(element, {}));
    }
  } else if constexpr (IsVariant<T>::value) {
    text = fmt::format("{}", value.index());
    std::visit([&]<typename S>(const S& held) { text += text_of_difference(held, S{}); }, value);
  } else if constexpr (std::is_enum_v<T>) {
    if (value != otherwise) text = fmt::format("{}", static_cast<int>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    if (value != otherwise) text = fmt::format("{}", value);
  } else if constexpr (std::same_as<T, std::string>) {
    if (value != otherwise) text = fmt::format("'{}'", value);
  } else {
    std::apply(
        [&](const auto&... own) {
          std::apply(
              [&](const auto&... plain) {
                int index = 0;
                const auto add = [&](const std::string& inner) {
                  if (!inner.empty()) text += fmt::format("{}={};", index, inner);
                  ++index;
                };
                (add(text_of_difference(own, plain)), ...);
              },
              members_of(otherwise));
        },
        members_of(value));
    if (!text.empty()) text = fmt::format("{{{}}}", text);
  }
  return text;
}

}  // namespace krait
