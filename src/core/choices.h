// Messages that list what exists: a typo is answered with the nearest name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace krait {

/// `"persentile" (did you mean "percentile"?); known: absmax, mse, percentile`, the tail of a
/// message about a name that is not among `known`. `known` is listed in the given order.
std::string unknown_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace krait
