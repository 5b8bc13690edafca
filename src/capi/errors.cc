#include <exception>
#include <string>

#include "capi/guard.h"
#include "krait/error.h"
#include "krait/version.h"

namespace krait::capi {
namespace {

thread_local std::string last_error;

// The codes of C++ in their order, after KRAIT_OK.
constexpr krait_status status_of(ErrorCode code) {
  return static_cast<krait_status>(static_cast<int>(code) + 1);
}
static_assert(status_of(ErrorCode::invalid_argument) == KRAIT_INVALID_ARGUMENT);
static_assert(status_of(ErrorCode::not_found) == KRAIT_NOT_FOUND);
static_assert(status_of(ErrorCode::bad_data) == KRAIT_BAD_DATA);
static_assert(status_of(ErrorCode::unsupported) == KRAIT_UNSUPPORTED);
static_assert(status_of(ErrorCode::io_error) == KRAIT_IO_ERROR);
static_assert(status_of(ErrorCode::cancelled) == KRAIT_CANCELLED);
static_assert(status_of(ErrorCode::out_of_memory) == KRAIT_OUT_OF_MEMORY);
static_assert(status_of(ErrorCode::busy) == KRAIT_BUSY);
static_assert(status_of(ErrorCode::internal) == KRAIT_INTERNAL);

krait_status keep(krait_status status, const char* sentence) noexcept {
  try {
    last_error = sentence;
  } catch (...) {
    last_error.clear();  // no memory for the sentence: the status has to do
  }
  return status;
}

}  // namespace

krait_status caught() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return keep(status_of(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return keep(KRAIT_OUT_OF_MEMORY, "there is no memory left");
  } catch (const std::exception& error) {
    return keep(KRAIT_INTERNAL, error.what());
  } catch (...) {
    return keep(KRAIT_INTERNAL, "an exception that says nothing was thrown");
  }
}

}  // namespace krait::capi

int krait_api_version(void) { return KRAIT_API_VERSION; }

const char* krait_version(void) { return krait::version(); }

const char* krait_status_name(krait_status status) {
  return status == KRAIT_OK ? "ok" : krait::name_of(static_cast<krait::ErrorCode>(status - 1));
}

const char* krait_last_error(void) { return krait::capi::last_error.c_str(); }

void krait_free(void* memory) { std::free(memory); }
