// krait compare: what a model lost against its reference.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "eval/divergence.h"
#include "krait/engine.h"

namespace krait::cli {
namespace {

struct Options {
  std::string reference, model;
  EvaluationOptions evaluation;
};

int run(const Options& options) {
  const EngineOptions engine_options{.threads = options.evaluation.threads};
  const Engine reference = Engine::load(resolve_model(options.reference), engine_options);
  const Engine model = Engine::load(resolve_model(options.model), engine_options);
  const EvaluationText text = read_evaluation_text(options.evaluation, reference);
  ProgressReport report;
  const DivergenceResult result =
      compare(reference, model, text.ids, text.bytes, options.evaluation.seq_len,
              [&](const Progress& p) { report.update(p); });
  report.finish();
  if (options.evaluation.json) {
    Json json = to_json(result);
    json["reference_directory"] = options.reference;
    json["model_directory"] = options.model;
    json["file"] = options.evaluation.file;
    json["seq_len"] = options.evaluation.seq_len;
    print_json(json);
    return kSuccess;
  }
  Table models({"", "nll", "perplexity", "bits/byte"});
  const auto add = [&models](const std::string& name, const PerplexityResult& p) {
    models.add({name, fmt::format("{:.5f}", p.nll), fmt::format("{:.4f}", p.perplexity),
                fmt::format("{:.4f}", p.bits_per_byte)});
  };
  add(options.reference, result.reference);
  add(options.model, result.model);
  print("{}\n", models.str());
  Table lost({"nll difference", "+-", "mean KL", "99.9% KL", "max KL", "top-1 agreement"});
  lost.add({fmt::format("{:+.5f}", result.nll_difference),
            fmt::format("{:.5f}", result.nll_difference_error),
            fmt::format("{:.6f}", result.kl_mean), fmt::format("{:.5f}", result.kl_p999),
            fmt::format("{:.5f}", result.kl_max),
            fmt::format("{:.2f}%", 100 * result.top1_agreement)});
  print("{}\n{} tokens in {} windows; KL(reference || model) in nats\n", lost.str(),
        result.model.tokens, result.model.windows);
  return kSuccess;
}

}  // namespace

Runner declare_compare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("REFERENCE", options->reference,
                 "Directory of the reference, usually the float model")
      ->required();
  app.add_option("MODEL", options->model, "Directory of the model to judge")->required();
  add_evaluation_options(app, options->evaluation);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
