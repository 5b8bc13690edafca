// krait bench: tokens per second beside what the machine allows.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/cpu_info.h"
#include "eval/prompt_beside.h"
#include "eval/speed.h"
#include "eval/windows.h"
#include "krait/engine.h"
#include "krait/version.h"
#include "models/dummy.h"
#include "quant/quantize_to_memory.h"
#include "quant/recipe.h"
#include "report/measures.h"
#include "report/tables.h"
#include "report/units.h"
#include "runtime/engine_access.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, dummy, recipe = "krait-w8a8";
  std::vector<int> prompt{512}, generate{128}, depth{0}, batch{1};
  int repeats = 5, threads = 0, beside = 0;
  bool json = false, mlock = false;
};

Engine load_dummy(const Options& options) {
  const DummyModel dummy = make_dummy_model(options.dummy);
  const Recipe recipe = load_recipe(options.recipe);
  ThreadPool threads(options.threads > 0 ? options.threads : hardware_threads());
  ProgressReport report;
  QuantizedModel model = quantize_to_memory(
      dummy.config, *dummy.tensors, recipe, threads, [&](const Progress& p) { report.update(p); },
      Digits::rough);
  report.finish();
  return make_engine({.config = std::move(model.config),
                      .generation_config = {},
                      .tensors = std::move(model.tensors),
                      .tokenizer = std::nullopt},
                     {.threads = options.threads, .mlock = options.mlock});
}

/// Prefill before decode, and both again at every depth.
std::vector<SpeedTest> tests_of(const Options& options) {
  std::vector<SpeedTest> tests;
  for (const int depth : options.depth) {
    for (const int tokens : options.prompt) tests.push_back({.tokens = tokens, .depth = depth});
    for (const int tokens : options.generate) {
      for (const int sequences : options.batch) {
        tests.push_back({tokens, true, sequences, depth});
      }
    }
  }
  std::erase_if(tests, [](const SpeedTest& test) { return test.tokens == 0; });
  return tests;
}

/// A prompt of each length beside sequences that decode, instead of the table.
int run_beside(const Engine& engine, const Options& options) {
  Json list = Json::array();
  for (const int tokens : options.prompt) {
    if (tokens == 0) continue;
    const PromptBeside r = measure_prompt_beside(engine, tokens, options.beside);
    list.push_back({{"n_prompt", tokens},
                    {"n_beside", r.sequences},
                    {"alone", r.alone},
                    {"beside", r.beside},
                    {"longest_gap", r.longest_gap},
                    {"median_gap", r.median_gap},
                    {"gap_without", r.gap_without}});
    if (options.json) continue;
    print(
        "pp{} beside tg x{}: {} tokens/s, {:.0f} % of {} alone; between two tokens of a sequence "
        "{:.3f} s (median), {:.3f} s (longest), {:.3f} s without a prompt\n",
        tokens, r.sequences, format_rate(r.beside), 100 * r.beside / r.alone, format_rate(r.alone),
        r.median_gap, r.longest_gap, r.gap_without);
  }
  if (options.json) {
    print_json({{"description", engine.description()}, {"cpu_info", cpu_name()}, {"beside", list}});
  }
  return kSuccess;
}

int run(const Options& options) {
  if (!options.dummy.empty() && !options.model.empty()) {
    throw UsageError("give either a MODEL or --dummy, not both");
  }
  const std::string model =
      options.dummy.empty() ? resolve_model(options.model) : options.dummy + " " + options.recipe;
  const auto start = std::chrono::steady_clock::now();
  const Engine engine =
      options.dummy.empty()
          ? Engine::load(model, {.threads = options.threads, .mlock = options.mlock})
          : load_dummy(options);
  const double load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.beside > 0) return run_beside(engine, options);
  ProgressReport progress;
  const SpeedReport measured = measure_speed(engine, tests_of(options), options.repeats, true,
                                             [&](const Progress& p) { progress.update(p); });
  progress.finish();
  const std::vector<SpeedResult>& results = measured.results;
  const MachinePeaks peaks = measured.median_peaks();
  const EngineInfo info = engine.info();

  if (options.json) {
    Json list = Json::array();
    for (const SpeedResult& result : results) list.push_back(to_json(result));
    print_json({{"build", {{"version", version()}, {"isa", info.isa}}},
                {"cpu_info", cpu_name()},
                {"model", model},
                {"description", engine.description()},
                {"n_threads", engine.threads()},
                {"weight_bytes_per_token", info.weight_bytes},
                {"state_bytes", info.state_bytes},
                {"load_seconds", load_seconds},
                {"peak_rss_bytes", measured.peak_rss},
                {"read_bandwidth", peaks.read_bandwidth},
                {"int8_ops", peaks.int8_ops},
                {"fp32_flops", peaks.fp32_flops},
                {"results", list}});
    return kSuccess;
  }
  print("{}\n{}\n\n", engine.description(), cpu_name());
  print("{}\n", speed_table(results).str());
  const auto deepest = std::max_element(
      results.begin(), results.end(),
      [](const SpeedResult& a, const SpeedResult& b) { return a.state_bytes < b.state_bytes; });
  print("medians of {} runs; weights read per token {}, state {}, peak memory {}\n",
        options.repeats, format_bytes(static_cast<double>(info.weight_bytes)),
        format_bytes(static_cast<double>(deepest == results.end() ? 0 : deepest->state_bytes)),
        format_bytes(static_cast<double>(measured.peak_rss)));
  print(
      "measured between the runs with {} threads: read bandwidth {}/s, int8 peak {} Gop/s, fp32 "
      "peak {} Gflop/s\n",
      engine.threads(), format_bytes(peaks.read_bandwidth), format_rate(peaks.int8_ops / 1e9),
      format_rate(peaks.fp32_flops / 1e9));
  if (std::any_of(results.begin(), results.end(),
                  [](const SpeedResult& r) { return quantile(r.fractions, 0.5) > 1; })) {
    print("more than 100%: weights or state stay in the caches, memory is no bound\n");
  }
#ifndef NDEBUG
  note("krait: note: built without optimisation, the figures say little");
#endif
  return kSuccess;
}

}  // namespace

Runner declare_bench(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  add_list(app, "-p,--prompt", options->prompt, "Tokens of prefill, one or more; 0: none")
      ->capture_default_str()
      ->transform(whole_number(0, 1 << 20));
  add_list(app, "-n,--tokens", options->generate, "Tokens of decode, one or more; 0: none")
      ->capture_default_str()
      ->transform(whole_number(0, 1 << 20));
  add_list(app, "-d,--depth", options->depth,
           "Tokens that the state has consumed before, one or more; the rows that attention would "
           "have kept of them are random")
      ->capture_default_str()
      ->transform(whole_number(0, 1 << 24));
  add_list(app, "-b,--batch", options->batch,
           "Sequences that are decoded together, one or more; rates count all their tokens")
      ->capture_default_str()
      ->transform(whole_number(1, 1024));
  app.add_option(
         "--beside", options->beside,
         "How fast a prompt is read beside so many sequences that decode, and how long they "
         "wait for their tokens meanwhile")
      ->type_name("N")
      ->transform(whole_number(1, 1024));
  app.add_option("-r,--repeats", options->repeats, "Measured runs after a warm-up")
      ->capture_default_str()
      ->transform(whole_number(1, 1000));
  app.add_option("--dummy", options->dummy,
                 fmt::format("Random weights of a published shape instead of a MODEL: {}",
                             fmt::join(dummy_names(), ", ")))
      ->type_name("NAME");
  app.add_option("--recipe", options->recipe, "How --dummy is quantized: name or JSON file")
      ->type_name("NAME")
      ->capture_default_str();
  add_threads_option(app, options->threads);
  add_mlock_option(app, options->mlock);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
