// krait perplexity: how well a model predicts a text.
#include "eval/perplexity.h"

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "krait/engine.h"
#include "report/table.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model;
  EvaluationOptions evaluation;
};

int run(const Options& options) {
  const std::string model = resolve_model(options.model);
  const Engine engine = Engine::load(model, {.threads = options.evaluation.threads});
  const EvaluationText text = read_evaluation_text(options.evaluation, engine);
  ProgressReport report;
  const PerplexityResult result =
      perplexity(engine, text.ids, text.bytes, options.evaluation.seq_len,
                 [&](const Progress& p) { report.update(p); });
  report.finish();
  if (options.evaluation.json) {
    Json json = to_json(result);
    json["model"] = model;
    json["description"] = engine.description();
    json["file"] = options.evaluation.file;
    json["seq_len"] = options.evaluation.seq_len;
    print_json(json);
    return kSuccess;
  }
  Table table({"model", "tokens", "windows", "nll", "+-", "perplexity", "bits/byte"});
  table.add({model, std::to_string(result.tokens), std::to_string(result.windows),
             fmt::format("{:.5f}", result.nll), fmt::format("{:.5f}", result.nll_error),
             fmt::format("{:.4f}", result.perplexity),
             fmt::format("{:.4f}", result.bits_per_byte)});
  write_out(table.str());
  return kSuccess;
}

}  // namespace

Runner declare_perplexity(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  add_evaluation_options(app, options->evaluation);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
