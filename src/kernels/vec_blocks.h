// How the row algorithms walk over memory in vectors: whole vectors and then one partial one.
// Included by vec_reference.h, vec_avx2.h and vec_avx512.h, which define the type `Vec` for one
// instruction set each; an algorithm is written once over Vec (<op>/<op>_impl.h) and compiled for
// each of them (<op>/<op>_{reference,avx2,avx512}.cc).
//
// What those files compile must not leak into the program: code for an instruction set that the CPU
// may lack must never be what the linker keeps for an inline function of another file. So they
// include nothing of the standard library but <cstdint>, and all but their one exported table is in
// anonymous namespaces.
#pragma once

#include <cstdint>

namespace krait {
namespace {

struct Whole {};  ///< all kLanes elements
struct Part {
  int lanes;
};  ///< the first `lanes` < kLanes; memory beyond them is not touched

/// body(i, Whole{}) for i = 0, step, 2 step, ... and body(i, Part{rest}) for what remains of n.
template <int step, typename Body>
inline void for_blocks(std::int64_t n, Body body) {
  std::int64_t i = 0;
  for (; i + step <= n; i += step) body(i, Whole{});
  if (i < n) body(i, Part{static_cast<int>(n - i)});
}

}  // namespace
}  // namespace krait
