#include "cli/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "report/units.h"

namespace krait::cli {

void add_sampling_options(CLI::App& app, GenerateOptions& options) {
  const auto set_tokens = [&options](const int& tokens) {
    options.max_tokens = tokens < 0 ? std::numeric_limits<int>::max() : tokens;
  };
  app.add_option_function<int>("-n,--tokens", set_tokens,
                               "Tokens to write at most; -1: until the text ends or Ctrl-C")
      ->default_str(std::to_string(options.max_tokens))
      ->transform(whole_number(-1))
      ->type_name("N");
  app.add_option("--temperature", options.temperature, "0 takes the most likely token")
      ->capture_default_str()
      ->transform(number("at least 0", [](double x) { return x >= 0 && x <= 1e6; }));
  app.add_option("--top-k", options.top_k, "Sample from the K likeliest; 0: off")
      ->capture_default_str()
      ->transform(whole_number(0));
  app.add_option("--top-p", options.top_p,
                 "Sample from the likeliest of total probability P; 1: off")
      ->capture_default_str()
      ->transform(number("above 0 and at most 1", [](double x) { return x >= 1e-9 && x <= 1; }));
  app.add_option("--min-p", options.min_p, "At least P times the likeliest's probability; 0: off")
      ->capture_default_str()
      ->transform(number("from 0 to 1", [](double x) { return x >= 0 && x <= 1; }));
  app.add_option("--repeat-penalty", options.repeat_penalty, "Of tokens among the last 64; 1: off")
      ->capture_default_str()
      ->transform(number("above 0", [](double x) { return x >= 1e-6 && x <= 1e6; }));
  const auto set_seed = [&options](const std::string& text) {
    if (text != "-1") options.seed = std::stoull(text);
  };
  app.add_option_function<std::string>("--seed", set_seed,
                                       "Of the random numbers; -1, the default: by chance")
      ->transform(seed_number(true))
      ->type_name("N");
  app.add_option("--stop", options.stop, "End before this text; may be given several times")
      ->allow_extra_args(false)
      ->type_name("WORDS");
  app.add_flag("--ignore-eos", options.ignore_eos, "Go on after an end of text");
}

void add_tokenizer_option(CLI::App& app, std::string& tokenizer) {
  app.add_option("--tokenizer", tokenizer,
                 "tokenizer.json, or a directory that has one (default: MODEL)")
      ->type_name("PATH");
}

std::string ending(const GenerateResult& result, const Engine& engine,
                   const GenerateOptions& options) {
  switch (result.finish_reason) {
    case FinishReason::length:
      return fmt::format("ended at {} token{} (-n)", options.max_tokens,
                         options.max_tokens == 1 ? "" : "s");
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::stop: {
      const auto ends = engine.eos_ids();
      const bool by_model = !options.ignore_eos && !result.ids.empty() &&
                            std::ranges::find(ends, result.ids.back()) != ends.end();
      return by_model ? "ended by the model" : "ended before a text of --stop";
    }
    case FinishReason::running:
      break;
  }
  return "not ended";
}

std::string speed_text(std::int64_t tokens, double seconds) {
  const char* const unit = tokens == 1 ? "token" : "tokens";
  if (tokens == 0 || seconds <= 0) return fmt::format("{} {}", tokens, unit);
  return fmt::format("{} {}, {} tokens/s", tokens, unit,
                     format_rate(static_cast<double>(tokens) / seconds));
}

}  // namespace krait::cli
