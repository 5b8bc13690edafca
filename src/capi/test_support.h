// Handles that free themselves, and what a call has to say, for the tests of the C API.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "capi/handles.h"
#include "krait/krait.h"
#include "runtime/test_support.h"

namespace krait::capi {

template <auto free>
struct FreeBy {
  void operator()(auto* handle) const { free(handle); }
};
using EngineHandle = std::unique_ptr<krait_engine, FreeBy<krait_engine_free>>;
using SessionHandle = std::unique_ptr<krait_session, FreeBy<krait_session_free>>;
using GenerationHandle = std::unique_ptr<krait_generation, FreeBy<krait_generation_free>>;
using ResultsHandle = std::unique_ptr<krait_results, FreeBy<krait_results_free>>;
using CancelHandle = std::unique_ptr<krait_cancel, FreeBy<krait_cancel_free>>;

inline void expect_ok(krait_status status) {
  EXPECT_EQ(status, KRAIT_OK) << krait_status_name(status) << ": " << krait_last_error();
}

inline void expect_failure(krait_status status, krait_status expected, const std::string& part) {
  EXPECT_EQ(status, expected) << krait_last_error();
  EXPECT_NE(std::string(krait_last_error()).find(part), std::string::npos)
      << "\"" << krait_last_error() << "\" lacks " << part;
}

inline EngineHandle byte_engine_handle() { return EngineHandle(new krait_engine(byte_engine())); }

inline SessionHandle new_session(const EngineHandle& engine) {
  krait_session* session = nullptr;
  expect_ok(krait_session_new(engine.get(), &session));
  return SessionHandle(session);
}

inline CancelHandle new_cancel() {
  krait_cancel* cancel = nullptr;
  expect_ok(krait_cancel_new(&cancel));
  return CancelHandle(cancel);
}

/// A random model at its liveliest, always the same text.
inline krait_generate_options options_of(int max_tokens) {
  krait_generate_options options;
  expect_ok(krait_generate_options_init(&options, sizeof options));
  options.max_tokens = max_tokens;
  options.temperature = 1.5f;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  options.has_seed = true;
  options.seed = 7;
  options.ignore_eos = true;
  return options;
}

}  // namespace krait::capi
