#include "core/system_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace krait {

std::size_t system_memory_bytes() noexcept {
  const std::size_t machine = static_cast<std::size_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES))) *
                              static_cast<std::size_t>(::sysconf(_SC_PAGE_SIZE));
  std::ifstream file("/sys/fs/cgroup/memory.max");  // a number, or "max"
  std::size_t group = 0;
  return file >> group && group > 0 ? std::min(machine, group) : machine;
}

}  // namespace krait
