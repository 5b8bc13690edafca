// One value that a row of integers leaves out.
#pragma once

#include <cstdint>

namespace krait {

struct Outlier {
  std::int32_t column;
  float value;
};

}  // namespace krait
