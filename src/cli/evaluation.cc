#include "cli/evaluation.h"

#include "core/check.h"

namespace krait::cli {

void add_evaluation_options(CLI::App& app, EvaluationOptions& options, bool file_required) {
  app.add_option("-f,--file", options.file, "Text; - reads standard input")
      ->required(file_required)
      ->type_name("FILE");
  app.add_option("--seq-len", options.seq_len, "Tokens of a window; windows do not overlap")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 24));
  app.add_option("--max-tokens", options.max_tokens, "Only the first N tokens of the text; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add_threads_option(app, options.threads);
  add_json_option(app, options.json);
}

EvaluationText encode_evaluation_text(const std::string& text, const std::string& where,
                                      std::int64_t max_tokens, const Engine& engine) {
  EvaluationText result{engine.encode(text, false), text.size()};
  const auto most = static_cast<std::size_t>(max_tokens);
  if (most > 0 && most < result.ids.size()) {
    result.ids.resize(most);
    result.bytes = engine.decode(result.ids).size();
  }
  check(result.ids.size() >= 2, ErrorCode::invalid_argument,
        "{} has {} tokens: at least 2 are needed", where, result.ids.size());
  return result;
}

EvaluationText read_evaluation_text(const EvaluationOptions& options, const Engine& engine) {
  TextInput input;
  input.file = options.file;
  return encode_evaluation_text(read_text(input), options.file, options.max_tokens, engine);
}

Json to_json(const PerplexityResult& result) {
  return {{"tokens", result.tokens},
          {"windows", result.windows},
          {"nll", result.nll},
          {"nll_error", result.nll_error},
          {"perplexity", result.perplexity},
          {"bits_per_byte", result.bits_per_byte}};
}

Json to_json(const DivergenceResult& result) {
  return {{"reference", to_json(result.reference)},
          {"model", to_json(result.model)},
          {"nll_difference", result.nll_difference},
          {"nll_difference_error", result.nll_difference_error},
          {"nll_difference_low", result.nll_difference_interval.low},
          {"nll_difference_high", result.nll_difference_interval.high},
          {"kl_mean", result.kl_mean},
          {"kl_low", result.kl_interval.low},
          {"kl_high", result.kl_interval.high},
          {"kl_p999", result.kl_p999},
          {"kl_max", result.kl_max},
          {"top1_agreement", result.top1_agreement}};
}

}  // namespace krait::cli
