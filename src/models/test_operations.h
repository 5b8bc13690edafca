// A second table of operations, as a device would bring one: it counts every call and then calls
// the CPU's. Its memory can be touched inside an operation only, so that a model that looks at a
// value itself crashes.
#pragma once

#include <sys/mman.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>

#include "core/check.h"
#include "core/memory.h"
#include "kernels/attention/attention.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/linear/linear.h"
#include "kernels/nonlinearity/nonlinearity.h"
#include "kernels/routing/routing.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/ssd/ssd.h"

namespace krait {

/// One thread allocates and opens it at a time.
class GuardedMemory final : public Memory {
 public:
  /// While one lives the memory can be read and written.
  class Open {
   public:
    explicit Open(GuardedMemory& memory) : memory_(memory) { memory_.change(+1); }
    ~Open() { memory_.change(-1); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    GuardedMemory& memory_;
  };

  bool is_host() const noexcept override { return false; }
  std::shared_ptr<void> allocate(std::size_t bytes) override {
    const std::size_t size = (bytes + 4095) / 4096 * 4096 + 4096;
    const int protection = open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
    void* const memory = ::mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, ErrorCode::io_error, "no memory for a test");
    ranges_[memory] = size;
    return {memory, [this](void* freed) {
              ::munmap(freed, ranges_.at(freed));
              ranges_.erase(freed);
            }};
  }
  void read(void* to, const void* from, std::size_t bytes) override { move(to, from, bytes); }
  void write(void* to, const void* from, std::size_t bytes) override { move(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { move(to, from, bytes); }
  void zero(void* to, std::size_t bytes) override {
    const Open open(*this);
    std::memset(to, 0, bytes);
  }

 private:
  void move(void* to, const void* from, std::size_t bytes) {
    const Open open(*this);
    std::memcpy(to, from, bytes);
  }
  void change(int by) {
    const bool was = open_ > 0;
    open_ += by;
    if ((open_ > 0) == was) return;
    for (const auto& [memory, size] : ranges_) {
      ::mprotect(memory, size, open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
  }

  std::map<void*, std::size_t> ranges_;
  int open_ = 0;
};

inline GuardedMemory& guarded_memory() {
  static GuardedMemory memory;
  return memory;
}

inline constexpr std::size_t kOperations = sizeof(Operations) / sizeof(void (*)());
/// Calls of each operation through guarded_operations(), in order of the table.
inline std::array<std::int64_t, kOperations> operation_calls{};

namespace guarded {

template <typename F>
struct Wrap;
template <typename R, typename... Args>
struct Wrap<R (*)(Context&, Args...)> {
  template <R (*Operations::*member)(Context&, Args...)>
  static R call(Context& ctx, Args... args) {
    const auto at = reinterpret_cast<const char*>(&(cpu_operations.*member)) -
                    reinterpret_cast<const char*>(&cpu_operations);
    ++operation_calls[static_cast<std::size_t>(at) / sizeof(void (*)())];
    const GuardedMemory::Open open(guarded_memory());
    return (cpu_operations.*member)(ctx, args...);
  }
};

}  // namespace guarded

/// Not for several threads at once.
inline const Operations& guarded_operations() {
#define KRAIT_WRAP(name) .name = guarded::Wrap<decltype(Operations::name)>::call<&Operations::name>
  static const Operations table = {KRAIT_WRAP(pack),
                                   KRAIT_WRAP(linear),
                                   KRAIT_WRAP(embedding),
                                   KRAIT_WRAP(causal_conv1d),
                                   KRAIT_WRAP(selective_scan),
                                   KRAIT_WRAP(ssd),
                                   KRAIT_WRAP(ssd_state_values),
                                   KRAIT_WRAP(attention),
                                   KRAIT_WRAP(rotary_angles),
                                   KRAIT_WRAP(rotary),
                                   KRAIT_WRAP(add_rms_norm),
                                   KRAIT_WRAP(add_layer_norm),
                                   KRAIT_WRAP(gated_rms_norm),
                                   KRAIT_WRAP(add_rows),
                                   KRAIT_WRAP(scale_rows),
                                   KRAIT_WRAP(copy_rows),
                                   KRAIT_WRAP(gather_rows),
                                   KRAIT_WRAP(scatter_add),
                                   KRAIT_WRAP(clear_rows),
                                   KRAIT_WRAP(quantize),
                                   KRAIT_WRAP(dequantize),
                                   KRAIT_WRAP(hadamard),
                                   KRAIT_WRAP(hadamard_inverse),
                                   KRAIT_WRAP(gelu),
                                   KRAIT_WRAP(silu_product),
                                   KRAIT_WRAP(top_experts)};
#undef KRAIT_WRAP
  return table;
}

}  // namespace krait
