// krait sweep: recipes by models, one result file each, from one JSON file.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/evaluation.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/speed.h"
#include "core/check.h"
#include "core/choices.h"
#include "core/cpu_info.h"
#include "eval/likelihood.h"
#include "eval/site_errors.h"
#include "eval/tasks.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "krait/engine.h"
#include "krait/quantize.h"
#include "krait/version.h"
#include "report/measures.h"
#include "report/results.h"
#include "report/sweep_file.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string file, output, shard;
  std::vector<std::string> only;
  bool keep = false, json = false;
  int threads = 0;
};

/// The cells of these names; all if there are none.
std::vector<SweepCell> chosen(std::vector<SweepCell> cells, const std::vector<std::string>& only) {
  if (only.empty()) return cells;
  std::vector<std::string> known;
  known.reserve(cells.size());
  for (const SweepCell& cell : cells) known.push_back(cell.name);
  for (const std::string& name : only) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw UsageError(fmt::format("--only: there is no result {}", unknown_name(name, known)));
  }
  std::erase_if(cells, [&](const SweepCell& cell) {
    return std::find(only.begin(), only.end(), cell.name) == only.end();
  });
  return cells;
}

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
  const bool is_same = result.is_object() && result.value("spec", Json()) == spec;
  return is_same && !is_failure(result) ? result : Json();
}

/// Texts and tasks that all cells share, read before the first one starts.
struct Inputs {
  std::vector<std::string> texts;
  std::vector<Task> tasks;
  std::string drift, sites;
  Json settings;
};

Inputs read_inputs(const SweepFile& sweep) {
  Inputs inputs;
  for (const SweepText& text : sweep.texts) inputs.texts.push_back(read_file(text.file));
  for (const std::string& name : sweep.tasks.names) {
    inputs.tasks.push_back(read_task(name, sweep.tasks.data, sweep.tasks.limit));
  }
  if (sweep.drift.wanted) inputs.drift = read_file(sweep.drift.file);
  if (sweep.sites.wanted) inputs.sites = read_file(sweep.sites.file);
  inputs.settings = sweep_settings(sweep);
  return inputs;
}

/// A model of the sweep and what has been computed of it once for all its recipes.
struct Reference {
  Engine engine;
  std::vector<EvaluationText> texts{};
  std::vector<std::vector<Metric>> tasks{};
  std::vector<std::int32_t> filler{};
  std::vector<RecallCell> recall{};
  EvaluationText drift{}, sites{};
};

Reference load_reference(const std::string& directory, const SweepFile& sweep, const Inputs& inputs,
                         int threads, const ProgressFn& progress) {
  Reference reference{.engine = Engine::load(directory, {.threads = threads})};
  const Engine& engine = reference.engine;
  for (std::size_t i = 0; i < inputs.texts.size(); ++i) {
    reference.texts.push_back(encode_evaluation_text(inputs.texts[i], sweep.texts[i].file,
                                                     sweep.texts[i].max_tokens, engine));
  }
  for (const Task& task : inputs.tasks) {
    reference.tasks.push_back(metrics_of(task, score_task(engine, task, progress)));
  }
  if (sweep.recall.wanted) {
    reference.filler = read_filler(sweep.recall.file, engine);
    reference.recall = recall(engine, reference.filler, sweep.recall.options, progress);
  }
  if (sweep.drift.wanted) {
    reference.drift = encode_evaluation_text(inputs.drift, sweep.drift.file, 0, engine);
  }
  if (sweep.sites.wanted) {
    reference.sites =
        encode_evaluation_text(inputs.sites, sweep.sites.file, sweep.sites.max_tokens, engine);
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
      entry[metrics[m].name] = {
          {"value", metrics[m].mean.value},
          {"stderr", metrics[m].mean.error},
          {"reference", reference.tasks[t][m].mean.value},
          {"difference", difference_json(paired_difference(metrics[m], reference.tasks[t][m]))}};
    }
  }
  return json;
}

/// Everything that the file asks for, of one quantized checkpoint.
Json measure(const std::string& checkpoint, const SweepFile& sweep, const Reference& reference,
             const Inputs& inputs, int threads, const ProgressFn& progress) {
  const Engine engine = Engine::load(checkpoint, {.threads = threads});
  Json result = {{"description", engine.description()},
                 {"parameters", engine.impl()->model->info().parameters}};
  for (std::size_t i = 0; i < sweep.texts.size(); ++i) {
    const EvaluationText& text = reference.texts[i];
    result["texts"][sweep.texts[i].name] = to_json(
        compare(reference.engine, engine, text.ids, text.bytes, sweep.texts[i].seq_len, progress));
  }
  if (!inputs.tasks.empty()) result["tasks"] = measure_tasks(engine, reference, inputs, progress);
  if (sweep.recall.wanted) {
    result["recall"] =
        to_json(recall(engine, reference.filler, sweep.recall.options, progress), reference.recall);
  }
  if (sweep.drift.wanted) {
    result["drift"] = to_json(
        drift(reference.engine, engine, reference.drift.ids, sweep.drift.options, progress));
  }
  if (sweep.sites.wanted) {
    const ChannelTransforms transforms =
        channel_transforms(read_json_file((fs::path(checkpoint) / "config.json").string()));
    result["sites"] = to_json(site_errors(reference.engine, engine, transforms, reference.sites.ids,
                                          sweep.sites.seq_len, progress));
  }
  if (sweep.speed.wanted) {
    const Speed speed =
        measure_speed(engine, sweep.speed.prefill, sweep.speed.decode, sweep.speed.repeats);
    result["speed"] = {{"prefill", quantile(speed.prefill, 0.5)},
                       {"decode", quantile(speed.decode, 0.5)},
                       {"prefill_samples", speed.prefill},
                       {"decode_samples", speed.decode}};
  }
  return result;
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
  Json result = measure(checkpoint, sweep, reference, inputs, threads, progress);
  result["bytes"] = made.output_bytes;
  result["bits_per_weight"] = made.bits_per_weight;
  return result;
}

/// A model's reference, or why there is none: that is found out once.
struct ReferenceSlot {
  std::string directory;
  std::unique_ptr<Reference> reference;
  std::unique_ptr<Error> error;
};

const Reference& reference_of(ReferenceSlot& slot, const std::string& directory,
                              const std::function<Reference()>& load) {
  if (slot.directory != directory) {
    slot = {};  // before the next one takes its memory
    slot.directory = directory;
    try {
      slot.reference = std::make_unique<Reference>(load());
    } catch (const Error& error) {
      slot.error = std::make_unique<Error>(error);
    }
  }
  if (slot.error) throw *slot.error;
  return *slot.reference;
}

const char* name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::bad_data:
      return "bad_data";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::io_error:
      return "io_error";
  }
  return "";
}

struct Counts {
  std::size_t made = 0, kept = 0, failed = 0, elsewhere = 0;
};

int run(const Options& options) {
  const Shard shard = parse_shard(options.shard);
  const SweepFile sweep = read_sweep_file(options.file);
  const std::vector<SweepCell> cells = chosen(cells_of(sweep), options.only);
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
  std::map<std::string, Json> digests;  // of the models
  ReferenceSlot slot;
  Counts counts;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const SweepCell& cell = cells[i];
    if (i % shard.count != shard.index - 1) {
      ++counts.elsewhere;
      continue;
    }
    const std::string path = (fs::path(options.output) / (cell.name + ".json")).string();
    const std::string checkpoint = (fs::path(options.output) / cell.name).string();
    current = cell.name;
    Json result;
    try {
      Json& digest = digests[cell.model];
      if (digest.is_null()) digest = checkpoint_hash(cell.model);
    } catch (const Error&) {  // said below, where the model is loaded
    }
    const Json spec = {{"model", file_name_of(cell.model)},
                       {"model_sha256", digests[cell.model]},
                       {"recipe", cell.recipe_source},
                       {"settings", inputs.settings}};
    if (!finished(path, spec).is_null()) {
      ++counts.kept;
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    try {
      const Reference& reference = reference_of(slot, cell.model, [&] {
        return load_reference(cell.model, sweep, inputs, options.threads, watch);
      });
      result = run_cell(cell, sweep, reference, inputs, checkpoint, options.threads, watch);
      ++counts.made;
    } catch (const Error& error) {
      result = {{"error", {{"code", name_of(error.code())}, {"message", error.what()}}}};
      ++counts.failed;
    }
    report.finish();
    result["spec"] = spec;
    result["model"] = cell.model;
    result["command"] =
        fmt::format("krait sweep {} -o {} --only {}", options.file, options.output, cell.name);
    result["seconds"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result["machine"] = {{"krait_version", version()},
                         {"cpu", cpu_name()},
                         {"isa", krait::name_of(select_isa())},
                         {"threads", options.threads > 0 ? options.threads : hardware_threads()}};
    write_file_atomic(path, format_json(result));
    if (!options.keep) fs::remove_all(checkpoint);
    if (is_failure(result)) {
      note("{}: {}", cell.name, text_at(result, "/error/message"));
    } else if (!options.json) {
      print("{}\n", path);
    }
    flush_out();
  }
  if (options.json) {
    print_json({{"cells", cells.size()},
                {"made", counts.made},
                {"kept", counts.kept},
                {"failed", counts.failed},
                {"other_shards", counts.elsewhere}});
  } else {
    print("{} of {} results made, {} were there, {} failed, {} belong to other shards\n",
          counts.made, cells.size(), counts.kept, counts.failed, counts.elsewhere);
  }
  return counts.failed == 0 ? kSuccess : kFailure;
}

}  // namespace

Runner declare_sweep(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("FILE", options->file,
                 "JSON: models, recipes and what to measure (docs/formats.md)")
      ->required();
  app.add_option("-o,--output", options->output,
                 "Directory of the results; finished ones are not computed again")
      ->required()
      ->type_name("DIR");
  app.add_option("--shard", options->shard, "Only every N-th result, from the I-th on")
      ->type_name("I/N");
  app.add_option("--only", options->only, "Only the results of these names, MODEL~RECIPE")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
  app.add_flag("--keep", options->keep, "Keep the quantized checkpoints beside the results");
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
