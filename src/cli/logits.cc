// krait logits: what the model says after every token, for NumPy.
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/check.h"
#include "io/file.h"
#include "io/npy.h"
#include "krait/engine.h"
#include "runtime/engine_access.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, output;
  std::vector<std::int32_t> ids;
  TextInput input;
  int threads = 0;
};

int run(const Options& options) {
  const bool has_text = options.input.text_given || !options.input.file.empty();
  if (options.ids.empty() && !has_text)
    throw UsageError("give tokens: --ids 1,2,3, -p TEXT or -f FILE");
  const Engine engine = Engine::load(resolve_model(options.model), {.threads = options.threads});
  std::vector<std::int32_t> ids = options.ids;
  if (has_text) ids = engine.encode(read_text(options.input));
  check(!ids.empty(), ErrorCode::invalid_argument, "the text has no tokens");
  Executor& executor = executor_of(engine);
  executor.check_ids(ids);

  catch_interrupts();
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::string header = npy_header(tokens, engine.vocab_rows());
  const std::size_t row_bytes = static_cast<std::size_t>(engine.vocab_rows()) * sizeof(float);
  std::optional<OutputFile> file;
  if (options.output != "-") {
    file.emplace(options.output);
    file->reserve(header.size() + row_bytes * ids.size());
  }
  std::uint64_t written = 0;
  const auto write = [&](const void* data, std::size_t bytes) {
    if (file) {
      file->write_at(written, data, bytes);
    } else {
      write_out({static_cast<const char*>(data), bytes});
    }
    written += bytes;
  };
  write(header.data(), header.size());
  ProgressReport report;
  SequenceState state = executor.new_state();
  forward_logits(
      executor, ids, state, [&](std::int64_t first, std::int64_t rows, const float* logits) {
        throw_if_interrupted();
        write(logits, row_bytes * static_cast<std::size_t>(rows));
        report.update({.phase = "logits", .done = first + rows, .total = tokens, .unit = "tokens"});
      });
  report.finish();
  if (file) {
    file->commit();
    inform("wrote float32 [{}, {}] to {}", tokens, engine.vocab_rows(), options.output);
  }
  return kSuccess;
}

}  // namespace

Runner declare_logits(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  CLI::Option* ids = add_list(app, "--ids", options->ids, "Token ids, separated by commas")
                         ->transform(whole_number(0))
                         ->type_name("N");
  add_text_options(app, options->input, "Text; - reads standard input",
                   "File with the text; - reads standard input");
  app.get_option("--prompt")->excludes(ids);
  app.get_option("--file")->excludes(ids);
  app.add_option("-o,--output", options->output,
                 "File to write: float32, tokens by vocabulary; - writes standard output")
      ->required()
      ->type_name("FILE");
  add_threads_option(app, options->threads);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
