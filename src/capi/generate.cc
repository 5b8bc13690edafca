#include "krait/generate.h"

#include "capi/guard.h"
#include "capi/handles.h"

namespace krait::capi {
namespace {

krait_generate_options default_options() {
  const GenerateOptions from;
  return {.size = sizeof(krait_generate_options),
          .max_tokens = from.max_tokens,
          .temperature = from.temperature,
          .top_k = from.top_k,
          .top_p = from.top_p,
          .min_p = from.min_p,
          .repeat_penalty = from.repeat_penalty,
          .repeat_last_n = from.repeat_last_n,
          .logprobs = from.logprobs,
          .ignore_eos = from.ignore_eos,
          .has_seed = from.seed.has_value(),
          .seed = 0,
          .stop = nullptr,
          .stop_count = 0,
          .cancel = nullptr};
}

GenerateOptions options_of(const krait_generate_options* from) {
  const krait_generate_options given_options =
      completed(from, default_options(), "krait_generate_options");
  GenerateOptions options{.max_tokens = given_options.max_tokens,
                          .temperature = given_options.temperature,
                          .top_k = given_options.top_k,
                          .top_p = given_options.top_p,
                          .min_p = given_options.min_p,
                          .repeat_penalty = given_options.repeat_penalty,
                          .repeat_last_n = given_options.repeat_last_n,
                          .ignore_eos = given_options.ignore_eos,
                          .logprobs = given_options.logprobs};
  if (given_options.has_seed) options.seed = given_options.seed;
  for (const char* stop : list(given_options.stop, given_options.stop_count, "stop")) {
    options.stop.emplace_back(&given(stop, "stop"));
  }
  if (given_options.cancel) options.cancel = given_options.cancel->token;
  return options;
}

static_assert(KRAIT_FINISH_RUNNING == static_cast<int>(FinishReason::running));
static_assert(KRAIT_FINISH_STOP == static_cast<int>(FinishReason::stop));
static_assert(KRAIT_FINISH_LENGTH == static_cast<int>(FinishReason::length));
static_assert(KRAIT_FINISH_CANCELLED == static_cast<int>(FinishReason::cancelled));

}  // namespace

const krait_token* TokenView::show(const Token& token) {
  text_ = token.text;
  top_.clear();
  for (const TokenLogprob& each : token.top) top_.push_back({each.id, each.logprob});
  view_ = {.text = text_.c_str(),
           .text_length = text_.size(),
           .id = token.id,
           .logprob = token.logprob,
           .top = top_.data(),
           .top_count = top_.size()};
  return &view_;
}

krait_result view_of(const GenerateResult& result) {
  return {.text = result.text.c_str(),
          .text_length = result.text.size(),
          .ids = result.ids.data(),
          .id_count = result.ids.size(),
          .finish = static_cast<krait_finish>(result.finish_reason),
          .prompt_tokens = result.prompt_tokens,
          .seed = result.seed,
          .prefill_seconds = result.prefill_seconds,
          .decode_seconds = result.decode_seconds};
}

}  // namespace krait::capi

using namespace krait::capi;

krait_status krait_generate_options_init(krait_generate_options* options, size_t size) {
  return guarded([&] { fill(options, size, default_options(), "krait_generate_options"); });
}

krait_status krait_generation_new(krait_session* session, const char* prompt, size_t length,
                                  const krait_generate_options* options,
                                  krait_generation** generation) {
  return guarded([&] {
    cleared(generation, "generation");
    const std::shared_ptr<OpenSession>& open = given(session, "session").open;
    *generation = new krait_generation{
        .open = open,
        .generation = krait::Generation(open->engine, open->session, text(prompt, length, "prompt"),
                                        options_of(options))};
  });
}

krait_status krait_generation_next(krait_generation* generation, const krait_token** token) {
  return guarded([&] {
    cleared(token, "token");
    const std::optional<krait::Token> next = given(generation, "generation").generation.next();
    if (next) *token = generation->token.show(*next);
  });
}

krait_status krait_generation_cancel(krait_generation* generation) {
  return guarded([&] { given(generation, "generation").generation.cancel(); });
}

const krait_result* krait_generation_result(krait_generation* generation) {
  if (!generation) return nullptr;
  generation->result = view_of(generation->generation.result());
  return &generation->result;
}

void krait_generation_free(krait_generation* generation) { delete generation; }

krait_status krait_generate(const krait_request* requests, size_t count, krait_token_fn on_token,
                            void* user, krait_results** results) {
  return guarded([&] {
    cleared(results, "results");
    auto all = std::make_unique<krait_results>();
    std::vector<krait::GenerateRequest> asked;
    for (const krait_request& request : list(requests, count, "requests")) {
      asked.push_back({.session = &given(request.session, "session").open->session,
                       .prompt = std::string(text(request.prompt, request.prompt_length, "prompt")),
                       .options = options_of(request.options)});
    }
    std::function<bool(std::size_t, const krait::Token&)> tell;
    if (on_token) {
      tell = [&, view = TokenView()](std::size_t i, const krait::Token& token) mutable {
        return on_token(user, i, view.show(token));
      };
    }
    if (count > 0) all->results = krait::generate(requests->session->open->engine, asked, tell);
    for (const krait::GenerateResult& result : all->results) all->views.push_back(view_of(result));
    *results = all.release();
  });
}

const krait_result* krait_results_at(const krait_results* results, size_t i) {
  return results && i < results->views.size() ? &results->views[i] : nullptr;
}

void krait_results_free(krait_results* results) { delete results; }

krait_status krait_cancel_new(krait_cancel** cancel) {
  return guarded([&] {
    cleared(cancel, "cancel");
    *cancel = new krait_cancel;
  });
}

void krait_cancel_ask(const krait_cancel* cancel) {
  if (cancel) cancel->token.cancel();
}

void krait_cancel_free(krait_cancel* cancel) { delete cancel; }
