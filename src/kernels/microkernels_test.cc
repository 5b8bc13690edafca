#include "kernels/microkernels.h"

#include <gtest/gtest.h>

#include <set>

#include "core/cpu_info.h"

namespace krait {
namespace {

TEST(Microkernels, OfEachLevelAreItsOwn) {
  std::set<const void*> products;
  for (const Isa isa : all_isas()) {
    const Microkernels& table = microkernels(isa);
    EXPECT_EQ(table.isa, isa);
    for (const void* own : {static_cast<const void*>(table.linear),
                            static_cast<const void*>(table.linear4),
                            static_cast<const void*>(table.linear_codes)}) {
      EXPECT_TRUE(products.insert(own).second) << name_of(isa);
    }
  }
}

}  // namespace
}  // namespace krait
