// krait bench: tokens per second beside what the machine allows.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/units.h"
#include "core/cpu_info.h"
#include "core/memory.h"
#include "core/rng.h"
#include "kernels/machine/machine.h"
#include "krait/engine.h"
#include "krait/session.h"
#include "krait/version.h"
#include "models/dummy.h"
#include "quant/quantize_to_memory.h"
#include "quant/recipe.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model, dummy, recipe = "krait-w8a8";
  std::vector<int> prompt{512}, generate{128};
  int repeats = 5, threads = 0;
  bool json = false;
};

/// One line of the table: `tokens` prefilled at once or decoded one by one.
struct Result {
  std::string name;  ///< "pp512" or "tg128", as llama-bench calls them
  int n_prompt = 0, n_gen = 0;
  std::vector<double> samples;    ///< tokens per second of each repeat
  std::string bound;              ///< what limits it: "read bandwidth", "int8 peak", "fp32 peak"
  std::vector<double> fractions;  ///< of that bound, for each repeat
};

/// Multiplications and additions that one token costs in prefill.
struct Work {
  double int8_ops = 0, float_ops = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/// The head is left out: prefill needs it for the last token only.
Work work_per_token(const Engine::Impl& engine) {
  Work work;
  for (const LinearSite& site : engine.model->layout().linears) {
    if (site.input_site < 0 || site.role == "lm_head") continue;
    const double ops = 2.0 * static_cast<double>(site.rows) * static_cast<double>(site.cols);
    const std::string& input =
        engine.model->layout().activations[static_cast<std::size_t>(site.input_site)].role;
    const auto numerics = engine.model->numerics().find(input);
    const bool int8 = numerics != engine.model->numerics().end() && numerics->second.quantized;
    (int8 ? work.int8_ops : work.float_ops) += ops;
  }
  return work;
}

Engine load_dummy(const Options& options) {
  const DummyModel dummy = make_dummy_model(options.dummy);
  const Recipe recipe = load_recipe(options.recipe);
  ThreadPool threads(options.threads > 0 ? options.threads : hardware_threads());
  ProgressReport report;
  QuantizedModel model = quantize_to_memory(dummy.config, *dummy.tensors, recipe, threads,
                                            [&](const Progress& p) { report.update(p); });
  report.finish();
  return make_engine({.config = std::move(model.config),
                      .generation_config = {},
                      .tensors = std::move(model.tensors),
                      .tokenizer = std::nullopt},
                     {.threads = options.threads});
}

std::vector<std::int32_t> random_ids(const Engine& engine, int count) {
  Rng rng(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(engine.vocab_size())));
  }
  return ids;
}

/// Tokens per second of consuming `ids` from an empty state, `step` at a time.
double measure(Session& session, const std::vector<std::int32_t>& ids, std::size_t step) {
  session.reset();
  const auto start = Clock::now();
  for (std::size_t i = 0; i < ids.size(); i += step) {
    session.prefill(std::span(ids).subspan(i, std::min(step, ids.size() - i)));
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return static_cast<double>(ids.size()) / std::max(seconds, 1e-9);
}

/// What `result` reaches of its bound at `rate` tokens per second. Decode reads all weights once
/// per token; prefill computes with them.
double fraction_of_bound(const Result& result, double rate, double weight_bytes, const Work& work,
                         const MachinePeaks& peaks) {
  if (result.n_gen > 0) return rate * weight_bytes / peaks.read_bandwidth;
  return rate * (work.int8_ops / peaks.int8_ops + work.float_ops / peaks.fp32_flops);
}

struct Measurements {
  std::vector<Result> results;
  std::vector<MachinePeaks> peaks;  ///< one before the first repeat and one after each
  std::size_t peak_rss = 0;         ///< bytes, without what measuring the machine takes
};

/// The machine is measured between the repeats, and each repeat is held against the means of the
/// two measurements around it: other tenants of a server change its bandwidth within seconds.
Measurements run_tests(const Engine& engine, const Options& options) {
  struct Test {
    std::vector<std::int32_t> ids;
    std::size_t step = 0;
  };
  const Work work = work_per_token(*engine.impl());
  const auto weight_bytes = static_cast<double>(engine.impl()->model->weight_bytes());
  Measurements measured;
  std::vector<Test> tests;
  Session session = engine.new_session();
  ProgressReport report;
  const auto add = [&](int tokens, bool decode) {
    if (tokens == 0) return;
    Result result;
    result.name = fmt::format("{}{}", decode ? "tg" : "pp", tokens);
    (decode ? result.n_gen : result.n_prompt) = tokens;
    result.bound = decode                           ? "read bandwidth"
                   : work.int8_ops > work.float_ops ? "int8 peak"
                                                    : "fp32 peak";
    const std::vector<std::int32_t> ids = random_ids(engine, tokens);
    tests.push_back({ids, decode ? 1 : ids.size()});
    measured.results.push_back(std::move(result));
    // The warm-up touches every weight and lets the clock of the CPU settle.
    measure(session,
            std::vector(ids.begin(), ids.begin() + (decode ? std::min(tokens, 8) : tokens)),
            tests.back().step);
  };
  for (const int tokens : options.prompt) add(tokens, false);
  for (const int tokens : options.generate) add(tokens, true);
  measured.peak_rss = peak_rss_bytes();

  ThreadPool threads(engine.threads());
  const auto measure_peaks = [&] {
    measured.peaks.push_back(measure_machine(threads, engine.impl()->isa));
  };
  measure_peaks();
  for (int r = 0; r < options.repeats; ++r) {
    for (std::size_t t = 0; t < tests.size(); ++t) {
      Result& result = measured.results[t];
      report.update({.phase = result.name, .done = r, .total = options.repeats, .unit = "runs"});
      result.samples.push_back(measure(session, tests[t].ids, tests[t].step));
      const MachinePeaks before = measured.peaks.back();
      measure_peaks();
      const MachinePeaks after = measured.peaks.back();
      const MachinePeaks around = {
          .read_bandwidth = 0.5 * (before.read_bandwidth + after.read_bandwidth),
          .int8_ops = 0.5 * (before.int8_ops + after.int8_ops),
          .fp32_flops = 0.5 * (before.fp32_flops + after.fp32_flops)};
      result.fractions.push_back(
          fraction_of_bound(result, result.samples.back(), weight_bytes, work, around));
    }
  }
  report.finish();
  return measured;
}

/// Median of one of the peaks over all measurements.
double median_peak(const std::vector<MachinePeaks>& peaks, double MachinePeaks::*peak) {
  std::vector<double> values;
  values.reserve(peaks.size());
  for (const MachinePeaks& p : peaks) values.push_back(p.*peak);
  return median(values);
}

/// "74% (70-78)": median, lowest and highest.
std::string format_fractions(const std::vector<double>& fractions) {
  const auto [low, high] = std::minmax_element(fractions.begin(), fractions.end());
  return fmt::format("{:.0f}% ({:.0f}-{:.0f})", 100 * median(fractions), 100 * *low, 100 * *high);
}

Json to_json(const Result& result) {
  const double count = static_cast<double>(result.samples.size());
  const double mean = std::accumulate(result.samples.begin(), result.samples.end(), 0.0) / count;
  double squares = 0;
  for (const double s : result.samples) squares += (s - mean) * (s - mean);
  const auto [low, high] = std::minmax_element(result.samples.begin(), result.samples.end());
  return {{"test", result.name},
          {"n_prompt", result.n_prompt},
          {"n_gen", result.n_gen},
          {"samples_ts", result.samples},
          {"avg_ts", mean},
          {"stddev_ts", count > 1 ? std::sqrt(squares / (count - 1)) : 0.0},
          {"median_ts", median(result.samples)},
          {"min_ts", *low},
          {"max_ts", *high},
          {"bound", result.bound},
          {"fraction_of_bound", median(result.fractions)},
          {"fractions_of_bound", result.fractions}};
}

int run(const Options& options) {
  if (!options.dummy.empty() && !options.model.empty()) {
    throw UsageError("give either a MODEL or --dummy, not both");
  }
  const std::string model =
      options.dummy.empty() ? resolve_model(options.model) : options.dummy + " " + options.recipe;
  const Engine engine = options.dummy.empty() ? Engine::load(model, {.threads = options.threads})
                                              : load_dummy(options);
  const Measurements measured = run_tests(engine, options);
  const std::vector<Result>& results = measured.results;
  const double read_bandwidth = median_peak(measured.peaks, &MachinePeaks::read_bandwidth);
  const double int8_ops = median_peak(measured.peaks, &MachinePeaks::int8_ops);
  const double fp32_flops = median_peak(measured.peaks, &MachinePeaks::fp32_flops);
  const std::size_t weight_bytes = engine.impl()->model->weight_bytes();

  if (options.json) {
    Json list = Json::array();
    for (const Result& result : results) list.push_back(to_json(result));
    print_json({{"build", {{"version", version()}, {"isa", name_of(engine.impl()->isa)}}},
                {"cpu_info", cpu_name()},
                {"model", model},
                {"description", engine.description()},
                {"n_threads", engine.threads()},
                {"weight_bytes_per_token", weight_bytes},
                {"state_bytes", engine.new_session().state_bytes()},
                {"peak_rss_bytes", measured.peak_rss},
                {"read_bandwidth", read_bandwidth},
                {"int8_ops", int8_ops},
                {"fp32_flops", fp32_flops},
                {"results", list}});
    return kSuccess;
  }
  print("{}\n{}\n\n", engine.description(), cpu_name());
  Table table({"test", "tokens/s", "min", "max", "of the bound", "bound"});
  for (const Result& result : results) {
    const auto [low, high] = std::minmax_element(result.samples.begin(), result.samples.end());
    table.add({result.name, format_rate(median(result.samples)), format_rate(*low),
               format_rate(*high), format_fractions(result.fractions), result.bound});
  }
  print("{}\n", table.str());
  print("medians of {} runs; weights read per token {}, state {}, peak memory {}\n",
        options.repeats, format_bytes(static_cast<double>(weight_bytes)),
        format_bytes(static_cast<double>(engine.new_session().state_bytes())),
        format_bytes(static_cast<double>(measured.peak_rss)));
  print(
      "measured between the runs with {} threads: read bandwidth {}/s, int8 peak {} Gop/s, fp32 "
      "peak {} Gflop/s\n",
      engine.threads(), format_bytes(read_bandwidth), format_rate(int8_ops / 1e9),
      format_rate(fp32_flops / 1e9));
  if (std::any_of(results.begin(), results.end(),
                  [](const Result& r) { return median(r.fractions) > 1; })) {
    print("more than 100%: the weights stay in the caches, memory is no bound\n");
  }
#ifndef NDEBUG
  note("krait: note: built without optimisation, the figures say little");
#endif
  return kSuccess;
}

}  // namespace

Runner declare_bench(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  std::string names;
  for (const std::string& name : dummy_names()) names += (names.empty() ? "" : ", ") + name;
  add_model_argument(app, options->model);
  app.add_option("-p,--prompt", options->prompt, "Tokens of prefill, one or more; 0: none")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-n,--tokens", options->generate, "Tokens of decode, one or more; 0: none")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-r,--repeats", options->repeats, "Measured runs after a warm-up")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--dummy", options->dummy,
                 "Random weights of a published shape instead of a MODEL: " + names)
      ->type_name("NAME");
  app.add_option("--recipe", options->recipe, "How --dummy is quantized: name or JSON file")
      ->type_name("NAME")
      ->capture_default_str();
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
