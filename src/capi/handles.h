// What stands behind the handles of krait.h.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "krait/cancel.h"
#include "krait/engine.h"
#include "krait/generate.h"
#include "krait/krait.h"
#include "krait/session.h"

struct krait_cancel {
  krait::CancelToken token;
};

struct krait_engine {
  explicit krait_engine(krait::Engine loaded);

  krait::Engine engine;
  krait::EngineInfo known;
  std::string description;
  krait_info info;  // views of these
};

namespace krait::capi {

/// A session, which lives until its handle and its generation are freed.
struct OpenSession {
  Engine engine;
  Session session;
};

/// A token as C sees it.
class TokenView {
 public:
  const krait_token* show(const Token& token);

 private:
  std::string text_;
  std::vector<krait_token_logprob> top_;
  krait_token view_ = {};
};

krait_result view_of(const GenerateResult& result);

}  // namespace krait::capi

struct krait_session {
  krait_session(krait::Engine engine, krait::Session session)
      : open(std::make_shared<krait::capi::OpenSession>(
            krait::capi::OpenSession{std::move(engine), std::move(session)})) {}

  std::shared_ptr<krait::capi::OpenSession> open;
};

struct krait_generation {
  std::shared_ptr<krait::capi::OpenSession> open;  // outlives what follows
  krait::Generation generation;
  krait::capi::TokenView token = {};
  krait_result result = {};
};

struct krait_results {
  std::vector<krait::GenerateResult> results;
  std::vector<krait_result> views;
};
