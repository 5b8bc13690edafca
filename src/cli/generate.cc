// krait generate: continues a text, streaming.
#include "krait/generate.h"

#include <chrono>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "core/memory.h"
#include "io/json.h"
#include "krait/engine.h"
#include "krait/session.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, load_state, save_state;
  TextInput input;
  GenerateOptions generate;
  int threads = 0;
  bool echo = false, quiet = false, mlock = false;
};

std::string speed(std::int64_t tokens, double seconds) {
  if (tokens == 0 || seconds <= 0) return fmt::format("{} tokens", tokens);
  return fmt::format("{} tokens, {} tokens/s", tokens,
                     format_rate(static_cast<double>(tokens) / seconds));
}

int run(const Options& options) {
  const bool has_text = options.input.text_given || !options.input.file.empty();
  const std::string prompt = has_text || options.load_state.empty() ? read_text(options.input) : "";
  const Engine engine = Engine::load(resolve_model(options.model),
                                     {.threads = options.threads, .mlock = options.mlock});
  Session session = options.load_state.empty() ? engine.new_session()
                                               : engine.restore(read_file(options.load_state));
  catch_interrupts();
  if (options.echo) {
    write_out(prompt);
    flush_out();
  }
  const GenerateResult result =
      generate(engine, session, prompt, options.generate, [](std::string_view text) {
        write_out(text);
        flush_out();
        return interrupt_signal() == 0;
      });
  if (!result.text.ends_with('\n')) write_out("\n");
  flush_out();
  if (!options.save_state.empty()) write_file_atomic(options.save_state, session.save());
  if (!options.quiet) {
    note("{}", engine.description());
    const std::string seed =
        options.generate.temperature > 0 ? fmt::format(", seed {}", result.seed) : "";
    note("prefill: {}; decode: {}; peak memory {}, state {} ({}{})",
         speed(result.prompt_tokens, result.prefill_seconds),
         speed(static_cast<std::int64_t>(result.ids.size()), result.decode_seconds),
         format_bytes(static_cast<double>(peak_rss_bytes())),
         format_bytes(static_cast<double>(session.state_bytes())), name_of(result.finish_reason),
         seed);
  }
  throw_if_interrupted();
  return kSuccess;
}

}  // namespace

Runner declare_generate(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  GenerateOptions& g = options->generate;
  add_model_argument(app, options->model);
  add_text_options(app, options->input, "Text to continue; - reads standard input",
                   "File to continue; - reads standard input");
  app.add_option("-n,--tokens", g.max_tokens, "Tokens to generate at most")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--temperature", g.temperature, "0 takes the most likely token")
      ->capture_default_str();
  app.add_option("--top-k", g.top_k, "Sample from the K likeliest; 0: off")->capture_default_str();
  app.add_option("--top-p", g.top_p, "Sample from the likeliest of total probability P; 1: off")
      ->capture_default_str();
  app.add_option("--min-p", g.min_p, "At least P times the likeliest's probability; 0: off")
      ->capture_default_str();
  app.add_option("--repeat-penalty", g.repeat_penalty, "Of tokens among the last 64; 1: off")
      ->capture_default_str();
  app.add_option("--seed", g.seed, "Of the sampler (default: the state's go on, else by chance)")
      ->type_name("N");
  app.add_option("--stop", g.stop, "End before this text; may be given several times")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", g.ignore_eos, "Go on after an end of text");
  app.add_flag("--echo", options->echo, "Print the prompt before its continuation");
  app.add_option("--state", options->load_state,
                 "Continue from the state in this file, with -p or where its text ended")
      ->type_name("FILE");
  app.add_option("--save-state", options->save_state, "Write the state after the text here")
      ->type_name("FILE");
  app.add_flag("-q,--quiet", options->quiet, "Report nothing on stderr");
  add_threads_option(app, options->threads);
  add_mlock_option(app, options->mlock);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
