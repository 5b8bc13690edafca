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

}  // namespace krait
