#pragma once

#include <stdexcept>
#include <string>

#include "krait/export.h"

namespace krait {

/// What kind of thing went wrong; the message says what, where, expected and got.
enum class ErrorCode {
  invalid_argument,  ///< the caller asked for something that makes no sense
  not_found,         ///< a file, tensor, recipe or model that does not exist
  bad_data,       ///< a file that is truncated, hostile, misshaped or contains NaN; a model whose
                  ///< activations overflow
  unsupported,    ///< valid, but no code here can handle it
  io_error,       ///< the operating system refused: permissions, full disk
  cancelled,      ///< the caller's CancelToken said so
  out_of_memory,  ///< there is no room, or more would be taken than was allowed
  busy,           ///< too many requests wait already: try again later
  internal,       ///< a mistake of krait's own
};

/// "invalid_argument", "not_found", ...: as in the enumeration, for files and machines.
KRAIT_API const char* name_of(ErrorCode code) noexcept;

/// The one exception of the library. Thrown at load, quantize and API edges, never from kernels.
/// `what()` is one sentence without a trailing newline.
class KRAIT_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace krait
