#include "core/quant_args.h"

namespace krait {

std::string_view name_of(Strategy strategy) noexcept {
  switch (strategy) {
    case Strategy::tensor:
      return "tensor";
    case Strategy::channel:
      return "channel";
    case Strategy::group:
      return "group";
    case Strategy::token:
      return "token";
  }
  return "?";
}

std::optional<Strategy> parse_strategy(std::string_view name) noexcept {
  for (Strategy s : {Strategy::tensor, Strategy::channel, Strategy::group, Strategy::token}) {
    if (name == name_of(s)) return s;
  }
  return std::nullopt;
}

std::string_view name_of(Codes codes) noexcept {
  switch (codes) {
    case Codes::integer:
      return "integer";
    case Codes::ternary:
      return "ternary";
    case Codes::trellis:
      return "trellis";
  }
  return "?";
}

std::optional<Codes> parse_codes(std::string_view name) noexcept {
  for (Codes c : {Codes::integer, Codes::ternary, Codes::trellis}) {
    if (name == name_of(c)) return c;
  }
  return std::nullopt;
}

}  // namespace krait
