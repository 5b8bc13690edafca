#include "krait/session.h"

#include "capi/guard.h"
#include "capi/handles.h"

using namespace krait::capi;

namespace {

krait::Session& session_of(const krait_session* session) {
  return given(session, "session").open->session;
}

}  // namespace

krait_status krait_session_new(const krait_engine* engine, krait_session** session) {
  return guarded([&] {
    cleared(session, "session");
    const krait::Engine& model = given(engine, "engine").engine;
    *session = new krait_session(model, model.new_session());
  });
}

krait_status krait_session_copy(const krait_session* session, krait_session** copy) {
  return guarded([&] {
    cleared(copy, "copy");
    const krait::Session& original = session_of(session);
    *copy = new krait_session(session->open->engine, original);
  });
}

krait_status krait_session_save(const krait_session* session, void** bytes, size_t* count) {
  return guarded([&] {
    cleared(bytes, "bytes"), cleared(count, "count");
    hand_out(session_of(session).save(), bytes, count);
  });
}

krait_status krait_session_restore(const krait_engine* engine, const void* bytes, size_t count,
                                   krait_session** session) {
  return guarded([&] {
    cleared(session, "session");
    const krait::Engine& model = given(engine, "engine").engine;
    const std::string_view saved = text(static_cast<const char*>(bytes), count, "bytes");
    *session = new krait_session(model, model.restore(saved));
  });
}

krait_status krait_session_reset(krait_session* session) {
  return guarded([&] { session_of(session).reset(); });
}

krait_status krait_session_keep_history(krait_session* session, int64_t tokens) {
  return guarded([&] { session_of(session).keep_history(tokens); });
}

krait_status krait_session_rollback(krait_session* session, int64_t tokens) {
  return guarded([&] { session_of(session).rollback(tokens); });
}

void krait_session_free(krait_session* session) { delete session; }

krait_status krait_session_prefill(krait_session* session, const int32_t* ids, size_t count) {
  return guarded([&] { session_of(session).prefill(list(ids, count, "ids")); });
}

krait_status krait_sessions_decode(krait_session* const* sessions, const int32_t* ids,
                                   size_t count) {
  return guarded([&] {
    std::vector<krait::Session*> several;
    for (const krait_session* session : list(sessions, count, "sessions")) {
      several.push_back(&session_of(session));
    }
    krait::decode(several, list(ids, count, "ids"));
  });
}

const float* krait_session_logits(const krait_session* session) {
  if (!session) return nullptr;
  const std::span<const float> logits = session->open->session.logits();
  return logits.empty() ? nullptr : logits.data();
}

int64_t krait_session_position(const krait_session* session) {
  return session ? session->open->session.position() : 0;
}
