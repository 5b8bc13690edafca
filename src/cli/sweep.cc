// krait sweep: recipes by models, one result file each, from one JSON file.
#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/sweep_file.h"
#include "core/check.h"
#include "core/cpu_info.h"
#include "eval/likelihood.h"
#include "eval/tasks.h"
#include "io/file.h"
#include "krait/engine.h"
#include "krait/quantize.h"
#include "krait/version.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string file, output, shard;
  bool keep = false, json = false;
  int threads = 0;
};

struct Shard {
  std::size_t index = 1, count = 1;  // index from 1
};

Shard parse_shard(const std::string& text) {
  if (text.empty()) return {};
  const std::size_t slash = text.find('/');
  const auto number = [&](const std::string& digits) -> std::size_t {
    const bool valid = !digits.empty() && digits.size() <= 6 &&
                       digits.find_first_not_of("0123456789") == std::string::npos;
    if (!valid) throw UsageError(fmt::format("--shard should be I/N, as 2/8, got {}", text));
    return std::stoul(digits);
  };
  if (slash == std::string::npos) number("");
  const Shard shard{number(text.substr(0, slash)), number(text.substr(slash + 1))};
  if (shard.index < 1 || shard.index > shard.count) {
    throw UsageError(fmt::format("--shard {}: the first number should be 1 to the second", text));
  }
  return shard;
}

/// The result of a cell that has been computed with the same specification, or null.
Json finished(const std::string& path, const Json& spec) {
  if (!fs::exists(path)) return nullptr;
  const Json result = read_json_file(path);
  return result.is_object() && result.value("spec", Json()) == spec ? result : Json();
}

/// Text and tasks that all cells share, read before the first one starts.
struct Inputs {
  std::string text;
  std::vector<Task> tasks;
};

Inputs read_inputs(const SweepFile& sweep) {
  Inputs inputs;
  if (!sweep.text.file.empty()) inputs.text = read_file(sweep.text.file);
  for (const std::string& name : sweep.tasks.names) {
    inputs.tasks.push_back(read_task(name, sweep.tasks.data, sweep.tasks.limit));
  }
  return inputs;
}

/// A model of the sweep and what has been computed of it once for all its recipes.
struct Reference {
  std::string directory;
  Engine engine;
  EvaluationText text;  // no ids without one
  std::vector<std::vector<Metric>> tasks;
};

Reference load_reference(const std::string& directory, const SweepFile& sweep, const Inputs& inputs,
                         int threads, const ProgressFn& progress) {
  Reference reference{directory, Engine::load(directory, {.threads = threads}), {}, {}};
  if (!sweep.text.file.empty()) {
    reference.text = encode_evaluation_text(inputs.text, sweep.text.file, sweep.text.max_tokens,
                                            reference.engine);
  }
  for (const Task& task : inputs.tasks) {
    reference.tasks.push_back(metrics_of(task, score_task(reference.engine, task, progress)));
  }
  return reference;
}

Json measure_tasks(const Engine& engine, const Reference& reference, const Inputs& inputs,
                   const ProgressFn& progress) {
  Json json = Json::object();
  for (std::size_t t = 0; t < inputs.tasks.size(); ++t) {
    const Task& task = inputs.tasks[t];
    Json& entry = json[std::string(task.kind.name)];
    entry["items"] = task.items.size();
    entry["headline"] = task.kind.headline;
    const std::vector<Metric> metrics = metrics_of(task, score_task(engine, task, progress));
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      const Mean difference = paired_difference(metrics[m], reference.tasks[t][m]);
      entry[metrics[m].name] = {{"value", metrics[m].mean.value},
                                {"stderr", metrics[m].mean.error},
                                {"reference", reference.tasks[t][m].mean.value},
                                {"difference", difference.value},
                                {"difference_stderr", difference.error}};
    }
  }
  return json;
}

Json run_cell(const SweepCell& cell, const SweepFile& sweep, const Reference& reference,
              const Inputs& inputs, const std::string& checkpoint, int threads,
              const ProgressFn& progress) {
  const QuantizeReport made = quantize(cell.model, checkpoint,
                                       {.recipe = cell.recipe,
                                        .calibration = sweep.calibration.file,
                                        .samples = sweep.calibration.samples,
                                        .seq_len = sweep.calibration.seq_len,
                                        .seed = sweep.calibration.seed,
                                        .threads = threads,
                                        .overwrite = true,
                                        .progress = progress});
  const Engine engine = Engine::load(checkpoint, {.threads = threads});
  Json result = {{"spec", cell.spec},
                 {"krait_version", version()},
                 {"cpu_info", cpu_name()},
                 {"description", engine.description()},
                 {"bytes", made.output_bytes},
                 {"bits_per_weight", made.bits_per_weight},
                 {"parameters", engine.impl()->model->info().parameters}};
  if (!reference.text.ids.empty()) {
    result["divergence"] = to_json(compare(reference.engine, engine, reference.text.ids,
                                           reference.text.bytes, sweep.text.seq_len, progress));
  }
  if (!inputs.tasks.empty()) result["tasks"] = measure_tasks(engine, reference, inputs, progress);
  return result;
}

int run(const Options& options) {
  const Shard shard = parse_shard(options.shard);
  const SweepFile sweep = read_sweep_file(options.file);
  const std::vector<SweepCell> cells = cells_of(sweep);
  fs::create_directories(options.output);
  catch_interrupts();
  ProgressReport report;
  std::string current;
  const auto watch = [&](Progress progress) {
    throw_if_interrupted();
    progress.phase = current + ": " + progress.phase;
    report.update(progress);
  };

  const Inputs inputs = read_inputs(sweep);
  std::unique_ptr<Reference> reference;
  std::size_t made = 0, kept = 0, elsewhere = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const SweepCell& cell = cells[i];
    if (i % shard.count != shard.index - 1) {
      ++elsewhere;
      continue;
    }
    const std::string path = (fs::path(options.output) / (cell.name + ".json")).string();
    if (!finished(path, cell.spec).is_null()) {
      ++kept;
      continue;
    }
    current = cell.name;
    if (!reference || reference->directory != cell.model) {
      reference.reset();  // before the next one takes its memory
      reference = std::make_unique<Reference>(
          load_reference(cell.model, sweep, inputs, options.threads, watch));
    }
    const std::string checkpoint = (fs::path(options.output) / cell.name).string();
    const Json result =
        run_cell(cell, sweep, *reference, inputs, checkpoint, options.threads, watch);
    report.finish();
    write_file_atomic(path, result.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
    if (!options.keep) fs::remove_all(checkpoint);
    ++made;
    if (!options.json) print("{}\n", path);
    flush_out();
  }
  if (options.json) {
    print_json(
        {{"cells", cells.size()}, {"made", made}, {"kept", kept}, {"other_shards", elsewhere}});
  } else {
    print("{} of {} results made, {} were there, {} belong to other shards\n", made, cells.size(),
          kept, elsewhere);
  }
  return kSuccess;
}

}  // namespace

Runner declare_sweep(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("FILE", options->file, "JSON: models, recipes, text, tasks (docs/formats.md)")
      ->required();
  app.add_option("-o,--output", options->output,
                 "Directory of the results; finished ones are not computed again")
      ->required()
      ->type_name("DIR");
  app.add_option("--shard", options->shard, "Only every N-th result, from the I-th on")
      ->type_name("I/N");
  app.add_flag("--keep", options->keep, "Keep the quantized checkpoints beside the results");
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
