// krait recall: what a model remembers of a fact that lies far back.
#include "eval/recall.h"

#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "krait/engine.h"
#include "report/measures.h"
#include "report/tables.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, reference, file;
  RecallOptions recall;
  int threads = 0;
  bool json = false;
};

int run(const Options& options) {
  const std::string model = resolve_model(options.model);
  const EngineOptions engine_options{.threads = options.threads};
  const Engine engine = Engine::load(model, engine_options);
  std::optional<Engine> reference;
  if (!options.reference.empty()) {
    reference = Engine::load(resolve_model(options.reference), engine_options);
  }
  const std::vector<std::int32_t> filler = read_filler(options.file, engine);
  ProgressReport report;
  const auto progress = [&](const Progress& p) { report.update(p); };
  const std::vector<RecallCell> cells = recall(engine, filler, options.recall, progress);
  std::vector<RecallCell> theirs;
  if (reference) theirs = recall(*reference, filler, options.recall, progress);
  report.finish();
  if (options.json) {
    Json json = {{"model", model},
                 {"description", engine.description()},
                 {"filler", options.file.empty() ? "built in" : options.file},
                 {"needles", options.recall.needles},
                 {"fillers", options.recall.fillers},
                 {"seed", options.recall.seed},
                 {"recall", to_json(cells, theirs)}};
    if (reference) json["reference"] = options.reference;
    print_json(json);
    return kSuccess;
  }
  print("{}\n{}\n\n{}", model, engine.description(), recall_table(cells, theirs).str());
  print(
      "\nnll: nats per answer; gain: what the needle takes off it, against the prompt without it\n"
      "chosen: no answer of another needle gains as much (chance {:.1f}%)\n",
      100 * cells.front().chance);
  if (reference)
    print("differences are model - reference, question by question; intervals over filler texts\n");
  return kSuccess;
}

}  // namespace

Runner declare_recall(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  std::string names;
  for (const std::string& name : recall_tasks()) names += (names.empty() ? "" : ", ") + name;
  add_model_argument(app, options->model);
  const char* const kinds_help = "Kinds of questions, separated by commas (default: all): ";
  add_list(app, "--kinds", options->recall.tasks, kinds_help + names)->type_name("NAMES");
  add_list(app, "--tasks", options->recall.tasks, "")->group("");  // the name of before
  add_list(app, "--lengths", options->recall.lengths, "Tokens of the prompts")
      ->type_name("N")
      ->capture_default_str()
      ->transform(whole_number(1, 1 << 26));
  add_list(app, "--distances", options->recall.distances,
           "Tokens between fact and question; 0: the fact comes first")
      ->type_name("N")
      ->capture_default_str()
      ->transform(whole_number(0, 1 << 26));
  app.add_option("--needles", options->recall.needles, "Facts for each filler text")
      ->capture_default_str()
      ->transform(whole_number(2, 1 << 16));
  app.add_option("--fillers", options->recall.fillers, "Filler texts, cut one after the other")
      ->capture_default_str()
      ->transform(whole_number(1, 1 << 16));
  app.add_option("--seed", options->recall.seed, "Of numbers and words")
      ->capture_default_str()
      ->transform(seed_number());
  app.add_option("-f,--file", options->file, "Filler text (default: books, inside the program)")
      ->type_name("FILE");
  app.add_option("--reference", options->reference,
                 "A second model, asked the same: paired differences with 95 % intervals")
      ->type_name("DIR");
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
