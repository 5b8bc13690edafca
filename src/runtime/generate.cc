#include "krait/generate.h"

#include <algorithm>
#include <chrono>

#include "core/check.h"
#include "runtime/engine_access.h"
#include "runtime/sampler.h"
#include "runtime/stop_filter.h"

namespace krait {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Collects what may be shown and hands it on.
class Output {
 public:
  Output(GenerateResult& result, const std::function<bool(std::string_view)>& on_text)
      : result_(result), on_text_(on_text) {}
  void show(std::string_view text) {
    if (text.empty() || cancelled_) return;
    result_.text += text;
    if (on_text_) cancelled_ = !on_text_(text);
  }
  bool cancelled() const noexcept { return cancelled_; }

 private:
  GenerateResult& result_;
  const std::function<bool(std::string_view)>& on_text_;
  bool cancelled_ = false;
};

}  // namespace

GenerateResult generate(const Engine& engine, Session& session, std::string_view prompt,
                        const GenerateOptions& options,
                        const std::function<bool(std::string_view)>& on_text) {
  check_options(options);
  const bool fresh = session.position() == 0;
  std::vector<std::int32_t> history = engine.encode(prompt, fresh);
  check(!history.empty() || !session.logits().empty(), ErrorCode::invalid_argument,
        "the prompt is empty and there is nothing before it to continue from");

  GenerateResult result;
  result.finish_reason = "length";
  result.prompt_tokens = static_cast<std::int64_t>(history.size());
  const Clock::time_point start = Clock::now();
  session.prefill(history);
  result.prefill_seconds = seconds_since(start);

  const Clock::time_point decode_start = Clock::now();
  Sampler sampler(options, engine.vocab_size());
  TextStream stream(EngineAccess::model(engine)->known_tokenizer());
  StopFilter filter(options.stop);
  Output output(result, on_text);
  const std::span<const std::int32_t> eos = engine.eos_ids();
  while (static_cast<int>(result.ids.size()) < options.max_tokens) {
    const std::int32_t id = sampler.sample(session.logits(), history);
    result.ids.push_back(id);
    history.push_back(id);
    if (!options.ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end()) {
      result.finish_reason = "stop";
      break;
    }
    output.show(filter.push(stream.push(id)));
    session.decode(id);
    if (filter.stopped()) result.finish_reason = "stop";
    if (output.cancelled()) result.finish_reason = "cancelled";
    if (filter.stopped() || output.cancelled()) break;
  }
  if (!output.cancelled()) {
    output.show(filter.push(stream.flush()));
    if (filter.stopped()) {
      result.finish_reason = "stop";
    } else {
      output.show(filter.flush());
    }
  }
  result.decode_seconds = seconds_since(decode_start);
  return result;
}

}  // namespace krait
