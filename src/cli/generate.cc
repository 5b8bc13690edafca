// krait generate: continues a text, streaming, or several in the same forward passes.
#include "krait/generate.h"

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/prompts.h"
#include "cli/sampling.h"
#include "core/memory.h"
#include "core/printable.h"
#include "io/file.h"
#include "krait/engine.h"
#include "krait/session.h"
#include "report/units.h"
#include "runtime/engine_access.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, tokenizer, prompts, load_state, save_state;
  TextInput input;
  GenerateOptions generate;
  int threads = 0, batch = 32;
  bool echo = false, json = false, mlock = false;
};

/// The text without the line break at its end that files and echo put there.
std::string without_line_break(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

std::string read_prompt(const Options& options) {
  const TextInput& input = options.input;
  const bool has_text = input.text_given || !input.file.empty();
  if (!has_text && !options.load_state.empty()) return "";
  std::string text = read_text(input);
  const bool is_typed = input.file.empty() && input.text != "-";
  return is_typed ? text : without_line_break(std::move(text));
}

OrderedJson to_json(const Engine& engine, const Token& token, bool with_top) {
  OrderedJson json = {{"text", token.text},
                      {"token", engine.token_text(token.id)},
                      {"id", token.id},
                      {"logprob", token.logprob}};
  if (!with_top) return json;
  json["top"] = OrderedJson::array();
  for (const TokenLogprob& other : token.top) {
    json["top"].push_back(
        {{"token", engine.token_text(other.id)}, {"id", other.id}, {"logprob", other.logprob}});
  }
  return json;
}

OrderedJson to_json(const GenerateResult& result, const GenerateOptions& options) {
  OrderedJson json = {{"finish_reason", name_of(result.finish_reason)},
                      {"seed", options.temperature > 0 ? OrderedJson(result.seed) : nullptr},
                      {"text", result.text},
                      {"prompt_tokens", result.prompt_tokens},
                      {"tokens", result.ids.size()},
                      {"prefill_seconds", result.prefill_seconds},
                      {"decode_seconds", result.decode_seconds}};
  return json;
}

void report(const Engine& engine, std::span<const GenerateResult> results,
            const GenerateOptions& options, const std::string& state) {
  std::int64_t prompt = 0, written = 0;
  double prefill = 0, decode = 0;  // of several: until the last has begun, and until it has ended
  for (const GenerateResult& result : results) {
    prompt += result.prompt_tokens;
    written += std::ssize(result.ids);
    prefill = std::max(prefill, result.prefill_seconds);
    decode = std::max(decode, result.decode_seconds);
  }
  inform("{}", engine.description());
  inform("prefill: {}; decode: {}; peak memory {}{}", speed_text(prompt, prefill),
         speed_text(written, decode), format_bytes(static_cast<double>(peak_rss_bytes())), state);
  if (results.size() != 1) return;
  const std::string seed =
      options.temperature > 0 ? fmt::format(" (seed {})", results[0].seed) : "";
  inform("{}{}", ending(results[0], engine, options), seed);
}

int run_one(const Options& options, const Engine& engine, Session session,
            const std::string& prompt) {
  if (options.echo) {
    write_out(prompt);
    flush_out();
  }
  Generation generation(engine, session, prompt, options.generate);
  while (const std::optional<Token> token = generation.next()) {
    if (options.json) {
      print_json_line(to_json(engine, *token, options.generate.logprobs > 0));
    } else if (!token->text.empty()) {
      write_out(token->text);
      flush_out();
    }
  }
  const GenerateResult& result = generation.result();
  if (!options.json && !result.text.ends_with('\n')) write_out("\n");
  flush_out();
  if (!options.save_state.empty()) write_file_atomic(options.save_state, session.save());
  if (options.json) {
    print_json_line(to_json(result, options.generate));
  } else {
    report(engine, {&result, 1}, options.generate,
           ", state " + format_bytes(static_cast<double>(session.state_bytes())));
  }
  throw_if_interrupted();
  return kSuccess;
}

/// The first line of a prompt, for the eye.
std::string label(const std::string& prompt) {
  return printable(prompt.substr(0, prompt.find('\n')), 72);
}

/// All prompts in order, so many at a time. Each text is printed when those before it are.
int run_many(const Options& options, const Engine& engine, const Session& start,
             const std::vector<std::string>& prompts) {
  GenerateOptions generate_options = options.generate;
  if (!generate_options.seed && generate_options.temperature > 0) {
    generate_options.seed = std::random_device{}();
  }
  ProgressReport progress;
  std::vector<GenerateResult> results;
  std::int64_t written = 0;
  const auto group = static_cast<std::size_t>(options.batch);
  for (std::size_t first = 0; first < prompts.size() && interrupt_signal() == 0; first += group) {
    const std::size_t count = std::min(group, prompts.size() - first);
    std::vector<Session> sessions(count, start);
    std::vector<GenerateRequest> requests;
    for (std::size_t i = 0; i < count; ++i) {
      requests.push_back({&sessions[i], prompts[first + i], generate_options});
      if (generate_options.seed) *requests[i].options.seed += first + i;
    }
    std::vector<GenerateResult> made =
        generate(engine, requests, [&](std::size_t i, const Token& token) {
          progress.update({.phase = "generate", .done = ++written, .total = 0, .unit = "tokens"});
          if (options.json) {
            OrderedJson json = {{"prompt", first + i}};
            json.update(to_json(engine, token, options.generate.logprobs > 0));
            print_json_line(json);
          }
          return true;
        });
    progress.finish();
    for (std::size_t i = 0; i < count; ++i) {
      if (options.json) {
        OrderedJson json = {{"prompt", first + i}};
        json.update(to_json(made[i], options.generate));
        print_json_line(json);
      } else {
        const std::string& text = made[i].text;
        print("[{}] {}\n{}{}{}\n", first + i + 1, label(prompts[first + i]),
              options.echo ? prompts[first + i] : "", text, text.ends_with('\n') ? "" : "\n");
        flush_out();
      }
    }
    results.insert(results.end(), std::move_iterator(made.begin()), std::move_iterator(made.end()));
  }
  if (!options.json) {
    report(engine, results, generate_options, "");
    if (generate_options.temperature > 0) {
      inform("{} prompts, seeds {} and on", results.size(), *generate_options.seed);
    }
  }
  throw_if_interrupted();
  return kSuccess;
}

int run(Options& options) {
  if (options.generate.logprobs >= 0 && !options.json) {
    throw UsageError("--logprobs needs --json");
  }
  if (options.json) options.generate.logprobs = std::max(options.generate.logprobs, 0);
  const bool is_many = !options.prompts.empty();
  const std::vector<std::string> prompts =
      is_many ? parse_prompts(read_input(options.prompts), options.prompts)
              : std::vector{read_prompt(options)};
  const std::string model = resolve_model(options.model);
  const Engine engine = make_engine(read_engine_parts(model, options.tokenizer),
                                    {.threads = options.threads, .mlock = options.mlock});
  Session session = options.load_state.empty() ? engine.new_session()
                                               : engine.restore(read_file(options.load_state));
  options.generate.cancel = catch_interrupts();
  return is_many ? run_many(options, engine, session, prompts)
                 : run_one(options, engine, std::move(session), prompts.front());
}

}  // namespace

Runner declare_generate(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  add_text_options(app, options->input,
                   "Text to continue; - reads standard input, less a line break at its end",
                   "File to continue, less a line break at its end; - reads standard input");
  CLI::Option* prompts =
      app.add_option("--prompts", options->prompts,
                     "Continue each line of this file, all together; or JSON lines with a prompt")
          ->type_name("FILE")
          ->excludes(app.get_option("--prompt"))
          ->excludes(app.get_option("--file"));
  app.add_option("-b,--batch", options->batch, "Prompts at a time")
      ->capture_default_str()
      ->transform(whole_number(1, 1024))
      ->needs(prompts);
  add_sampling_options(app, options->generate);
  CLI::Option* echo =
      app.add_flag("--echo", options->echo, "Print the prompt before its continuation");
  app.add_option("--state", options->load_state,
                 "Continue from the state in this file, with -p or where its text ended")
      ->type_name("FILE");
  app.add_option("--save-state", options->save_state, "Write the state after the text here")
      ->transform(output_path())
      ->type_name("FILE")
      ->excludes(prompts);
  add_tokenizer_option(app, options->tokenizer);
  app.add_flag("--json", options->json, "Print a JSON object a token, and one with the result")
      ->excludes(echo);
  app.add_option("--logprobs", options->generate.logprobs,
                 "With --json: the N likeliest in the place of each token")
      ->transform(whole_number(0))
      ->type_name("N");
  add_threads_option(app, options->threads);
  add_mlock_option(app, options->mlock);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
