#include "core/system_memory.h"

#include <gtest/gtest.h>

#include "core/memory.h"

namespace krait {
namespace {

TEST(SystemMemory, HoldsThisProcess) {
  EXPECT_GT(system_memory_bytes(), peak_rss_bytes());
  EXPECT_EQ(system_memory_bytes(), system_memory_bytes());
}

}  // namespace
}  // namespace krait
