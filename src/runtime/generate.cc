#include "krait/generate.h"

#include <algorithm>
#include <chrono>
#include <deque>

#include "core/check.h"
#include "runtime/engine_access.h"
#include "runtime/scheduler.h"

namespace krait {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One request of a scheduler, and what came of it.
struct Told {
  Sequence* sequence = nullptr;
  std::uint64_t request = 0;
  GenerateResult result = {};
  Clock::time_point start = Clock::now();

  bool is_over() const { return result.finish_reason != FinishReason::running; }
  void add(const Event& event) {
    if (event.error) throw *event.error;
    const bool is_first = result.prefill_seconds == 0;
    if (is_first) result.prefill_seconds = seconds_since(start);
    if (event.token) {
      result.ids.push_back(event.token->id);
      result.text += event.token->text;
    }
    result.finish_reason = event.finish;
    result.decode_seconds = seconds_since(start) - result.prefill_seconds;
  }
};

Told submit(Scheduler& scheduler, const Engine& engine, Session& session, std::string_view prompt,
            const GenerateOptions& options) {
  const std::shared_ptr<LoadedModel>& model = EngineAccess::model(engine);
  check(SessionAccess::model(session) == model, ErrorCode::invalid_argument,
        "the session is of another engine");
  const Tokenizer& tokenizer = model->known_tokenizer();
  Told told{&SessionAccess::sequence(session)};
  std::vector<std::int32_t> ids = tokenizer.encode(prompt, session.position() == 0);
  told.result.prompt_tokens = std::ssize(ids);
  told.request = scheduler.submit(*told.sequence, std::move(ids), options);
  if (told.sequence->random) told.result.seed = told.sequence->random->seed;
  return told;
}

}  // namespace

const char* name_of(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::running:
      return "running";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "";
}

struct Generation::Run {
  Scheduler scheduler;
  Told told;
  std::deque<Token> tokens;  // that have come and are not given out yet

  void step() {
    for (Event& event : scheduler.step()) {
      told.add(event);
      if (event.token) tokens.push_back(std::move(*event.token));
    }
  }
};

Generation::Generation(const Engine& engine, Session& session, std::string_view prompt,
                       const GenerateOptions& options)
    : run_(new Run{.scheduler = Scheduler(EngineAccess::model(engine)), .told = {}, .tokens = {}}) {
  run_->told = submit(run_->scheduler, engine, session, prompt, options);
}

Generation::Generation(Generation&&) noexcept = default;

Generation& Generation::operator=(Generation&& other) noexcept {
  std::swap(run_, other.run_);
  return *this;
}

Generation::~Generation() {
  if (!run_) return;
  try {
    cancel();
  } catch (...) {  // the session is as far as it came
  }
}

std::optional<Token> Generation::next() {
  while (run_->tokens.empty() && !run_->told.is_over()) run_->step();
  if (run_->tokens.empty()) return std::nullopt;
  Token token = std::move(run_->tokens.front());
  run_->tokens.pop_front();
  return token;
}

void Generation::cancel() {
  run_->scheduler.cancel(run_->told.request);
  while (!run_->told.is_over() && !run_->scheduler.idle()) run_->step();
}

const GenerateResult& Generation::result() const { return run_->told.result; }

GenerateResult generate(const Engine& engine, Session& session, std::string_view prompt,
                        const GenerateOptions& options,
                        const std::function<bool(std::string_view)>& on_text) {
  Generation generation(engine, session, prompt, options);
  while (const std::optional<Token> token = generation.next()) {
    if (on_text && !token->text.empty() && !on_text(token->text)) generation.cancel();
  }
  return generation.result();
}

std::vector<GenerateResult> generate(
    const Engine& engine, std::span<const GenerateRequest> requests,
    const std::function<bool(std::size_t request, const Token& token)>& on_token) {
  std::vector<const Session*> sessions;
  for (const GenerateRequest& request : requests) sessions.push_back(request.session);
  std::sort(sessions.begin(), sessions.end());
  check(std::adjacent_find(sessions.begin(), sessions.end()) == sessions.end(),
        ErrorCode::invalid_argument, "a session is in the list of {} requests twice",
        requests.size());
  Scheduler scheduler(EngineAccess::model(engine), {.waiting = requests.size()});
  std::vector<Told> told;
  for (const GenerateRequest& request : requests) {
    told.push_back(submit(scheduler, engine, *request.session, request.prompt, request.options));
  }
  while (!scheduler.idle()) {
    for (const Event& event : scheduler.step()) {
      const auto index = static_cast<std::size_t>(event.request - told.front().request);
      told[index].add(event);
      if (event.token && on_token && !on_token(index, *event.token)) {
        scheduler.cancel(event.request);
      }
    }
  }
  std::vector<GenerateResult> results;
  for (Told& each : told) results.push_back(std::move(each.result));
  return results;
}

}  // namespace krait
