#include "report/run_sweep.h"

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "core/check.h"
#include "core/cpu_info.h"
#include "core/thread_pool.h"
#include "eval/likelihood.h"
#include "eval/site_errors.h"
#include "eval/speed.h"
#include "eval/tasks.h"
#include "eval/windows.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "krait/engine.h"
#include "krait/error.h"
#include "krait/version.h"
#include "quant/quantized_directory.h"
#include "report/measures.h"
#include "report/results.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

namespace fs = std::filesystem;

/// Whether a cell has been computed with the same specification.
bool is_finished(const std::string& path, const Json& spec) {
  if (!fs::exists(path)) return false;
  const Json result = read_json_file(path);
  return result.is_object() && result.value("spec", Json()) == spec && !is_failure(result);
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
  Json result = {{"description", engine.description()}, {"parameters", engine.info().parameters}};
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
    const SpeedTest tests[] = {{.tokens = sweep.speed.prefill},
                               {.tokens = sweep.speed.decode, .decode = true}};
    const SpeedReport speed = measure_speed(engine, tests, sweep.speed.repeats, false);
    const std::vector<double>&prefill = speed.results[0].rates, &decode = speed.results[1].rates;
    result["speed"] = {{"prefill", quantile(prefill, 0.5)},
                       {"decode", quantile(decode, 0.5)},
                       {"prefill_samples", prefill},
                       {"decode_samples", decode}};
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

std::string result_path(const std::string& output, const SweepCell& cell) {
  return (fs::path(output) / (cell.name + ".json")).string();
}

std::string checkpoint_path(const std::string& output, const SweepCell& cell) {
  return (fs::path(output) / cell.name).string();
}

/// Whether a cell's result and checkpoint replace nothing but their like.
void check_places(const SweepCell& cell, const std::string& output) {
  const std::string result = result_path(output, cell);
  check(!fs::exists(result) || is_result(read_json_file(result)), ErrorCode::bad_data,
        "{} is no result of krait sweep: it is not replaced", result);
  check_output(cell.model, checkpoint_path(output, cell), true);
}

/// What decides a result, by which it is known again.
Json specification(const SweepCell& cell, const Json& model_hash, const Json& settings) {
  return {{"model", file_name_of(cell.model)},
          {"model_sha256", model_hash},
          {"recipe", cell.recipe_source},
          {"settings", settings}};
}

}  // namespace

SweepCounts run_sweep(const SweepFile& sweep, const std::vector<SweepCell>& cells,
                      const SweepOptions& options) {
  for (const SweepCell& cell : cells) check_places(cell, options.output);
  fs::create_directories(options.output);
  std::string current;
  const auto watch = [&](Progress progress) {
    progress.phase = current + ": " + progress.phase;
    if (options.progress) options.progress(progress);
  };
  const Inputs inputs = read_inputs(sweep);
  std::map<std::string, Json> digests;  // of the models
  ReferenceSlot slot;
  SweepCounts counts;
  for (const SweepCell& cell : cells) {
    const std::string path = result_path(options.output, cell);
    const std::string checkpoint = checkpoint_path(options.output, cell);
    current = cell.name;
    try {
      Json& digest = digests[cell.model];
      if (digest.is_null()) digest = checkpoint_hash(cell.model);
    } catch (const Error&) {  // said below, where the model is loaded
    }
    const Json spec = specification(cell, digests[cell.model], inputs.settings);
    if (is_finished(path, spec)) {
      ++counts.kept;
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    Json result;
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
    result["spec"] = spec;
    result["model"] = cell.model;
    result["command"] =
        fmt::format("krait sweep {} -o {} --only {}", options.file, options.output, cell.name);
    result["seconds"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result["machine"] = {{"krait_version", version()},
                         {"cpu", cpu_name()},
                         {"isa", name_of(select_isa())},
                         {"threads", options.threads > 0 ? options.threads : hardware_threads()}};
    write_file_atomic(path, format_json(result));
    if (!options.keep) remove_quantized(checkpoint);
    if (options.on_result) options.on_result(cell, path, result);
  }
  return counts;
}

}  // namespace krait
