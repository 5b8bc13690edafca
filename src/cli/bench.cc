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
#include "core/cpu_info.h"
#include "core/float16.h"
#include "core/memory.h"
#include "core/rng.h"
#include "kernels/machine/machine.h"
#include "krait/engine.h"
#include "krait/version.h"
#include "models/dummy.h"
#include "models/state.h"
#include "quant/quantize_to_memory.h"
#include "quant/recipe.h"
#include "report/table.h"
#include "report/units.h"
#include "runtime/engine_impl.h"

namespace krait::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model, dummy, recipe = "krait-w8a8";
  std::vector<int> prompt{512}, generate{128}, depth{0}, batch{1};
  int repeats = 5, threads = 0;
  bool json = false, mlock = false;
};

/// One line of the table: tokens prefilled at once or decoded one by one.
struct Result {
  std::string name;  ///< "pp512", "tg128", "tg128 @ d4096", as llama-bench calls them, "tg128 x8"
  int n_prompt = 0, n_gen = 0;
  int n_batch = 1;                ///< decode: sequences that take each step together
  int n_depth = 0;                ///< tokens that the state has consumed before
  double bytes_per_step = 0;      ///< decode: what a token of every sequence reads and writes
  std::size_t state_bytes = 0;    ///< of one sequence at the end
  std::vector<double> samples;    ///< tokens per second of each repeat, of all sequences together
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

/// Counts what products multiply.
class WorkTap final : public Tap {
 public:
  explicit WorkTap(std::string left_out) : left_out_(std::move(left_out)) {}
  void observe(int, const Activation&) override {}
  void product(const Weight& weight, const Activation& x) override {
    if (weight.name == left_out_) return;
    const double ops = 2.0 * static_cast<double>(x.rows * weight.rows() * weight.cols());
    if (weight.data.dtype() == DType::i8 && x.dtype == DType::f32) {
      work.int8_ops += 2 * ops;  // two digits
    } else {
      (is_float(weight.data.dtype()) || x.dtype == DType::f32 ? work.float_ops : work.int8_ops) +=
          ops;
    }
  }
  Work work;

 private:
  std::string left_out_;
};

/// Prefill needs the head for the last token only: there it is left out.
Work work_per_token(Engine::Impl& engine, bool with_head) {
  const auto& linears = engine.model->layout().linears;
  const auto head = std::find_if(linears.begin(), linears.end(),
                                 [](const LinearSite& site) { return site.role == "lm_head"; });
  std::string left_out;
  if (!with_head && head != linears.end()) {
    left_out = head->tied_to.empty() ? head->name : head->tied_to;
  }
  WorkTap tap(std::move(left_out));
  SequenceState state(engine.model->state_layout());
  std::vector<float> logits(static_cast<std::size_t>(engine.model->info().vocab_rows));
  engine.context.tap = &tap;
  engine.prefill(std::vector<std::int32_t>{0}, state, LogitRows::last, logits.data());
  engine.context.tap = nullptr;
  return tap.work;
}

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

std::vector<std::int32_t> random_ids(const Engine& engine, int count) {
  Rng rng(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) {
    id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(engine.vocab_size())));
  }
  return ids;
}

/// Makes of the state one that has consumed `depth` tokens: the rows that attention keeps of them
/// are random, as the time of a token depends on their number only.
void deepen(SequenceState& state, int depth) {
  state.reset();
  if (depth == 0) return;
  state.reserve(depth);
  Rng rng(2);
  for (std::size_t i = 0; i < state.layout().buffers.size(); ++i) {
    const StateBuffer& buffer = state.layout().buffers[i];
    if (!buffer.per_token) continue;
    const auto count = static_cast<std::size_t>(depth * buffer.shape.elements());
    for (std::size_t j = 0; j < count; ++j) {
      const auto value = static_cast<float>(0.01 + 0.01 * rng.uniform());
      if (buffer.dtype == DType::f32) static_cast<float*>(state.buffer(i))[j] = value;
      if (buffer.dtype == DType::f16) {
        static_cast<std::uint16_t*>(state.buffer(i))[j] = f32_to_f16(value);
      }
      if (buffer.dtype == DType::i8) {
        static_cast<std::int8_t*>(state.buffer(i))[j] = static_cast<std::int8_t>(rng.below(128));
      }
    }
  }
  state.advance(depth);
}

/// One line of the table, ready to be run.
struct Test {
  std::vector<std::int32_t> ids;
  bool decode = false;  ///< one by one, each of them into every sequence
  int sequences = 1;
  int depth = 0;
  Work work{};  ///< per token of one sequence
};

/// Tokens per second of consuming a test's tokens from states of its depth.
double measure(Engine::Impl& engine, std::vector<SequenceState>& states, const Test& test) {
  const auto sequences = static_cast<std::size_t>(test.sequences);
  std::vector<float> logits(sequences * static_cast<std::size_t>(engine.model->info().vocab_rows));
  std::vector<SequenceState*> batch;
  for (std::size_t s = 0; s < sequences; ++s) {
    deepen(states[s], test.depth);
    batch.push_back(&states[s]);
  }
  const auto start = Clock::now();
  if (test.decode) {
    for (const std::int32_t id : test.ids) {
      const std::vector<std::int32_t> ids(sequences, id);
      engine.decode(ids, batch, logits.data());
    }
  } else {
    engine.prefill(test.ids, states.front(), LogitRows::last, logits.data());
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return static_cast<double>(test.ids.size() * sequences) / std::max(seconds, 1e-9);
}

/// Bytes of memory that decoding a token of every sequence has to move, on average over a test: all
/// weights are read once, the constant part of each state is read and written as its layout says,
/// of the rows that attention keeps all are read and one is written.
double decode_bytes(const Model& model, const Test& test) {
  const StateLayout& state = *model.state_layout();
  const double rows = test.depth + 0.5 * static_cast<double>(test.ids.size() + 1);
  return static_cast<double>(model.weight_bytes()) +
         test.sequences *
             (state.step_bytes + (rows + 1) * static_cast<double>(state.bytes_per_token));
}

/// Seconds that the multipliers need at least for a token.
double compute_seconds(const Work& work, const MachinePeaks& peaks) {
  return work.int8_ops / peaks.int8_ops + work.float_ops / peaks.fp32_flops;
}

/// What limits a test on a machine, if nothing else does.
std::string bound_of(const Result& result, const Test& test, const MachinePeaks& peaks) {
  const double memory = result.bytes_per_step / peaks.read_bandwidth;
  if (memory > test.sequences * compute_seconds(test.work, peaks)) return "read bandwidth";
  return test.work.int8_ops > test.work.float_ops ? "int8 peak" : "fp32 peak";
}

/// What `result` reaches of its bound at `rate` tokens per second.
double fraction_of_bound(const Result& result, double rate, const Test& test,
                         const MachinePeaks& peaks) {
  if (result.bound == "read bandwidth") {
    return rate / test.sequences * result.bytes_per_step / peaks.read_bandwidth;
  }
  return rate * compute_seconds(test.work, peaks);
}

struct Measurements {
  std::vector<Result> results;
  std::vector<MachinePeaks> peaks;  ///< one before the first repeat and one after each
  std::size_t peak_rss = 0;         ///< bytes, without what measuring the machine takes
};

/// The machine is measured between the repeats, and each repeat is held against the means of the
/// two measurements around it: other tenants of a server change its bandwidth within seconds.
Measurements run_tests(const Engine& engine, const Options& options) {
  Engine::Impl& impl = *engine.impl();
  Measurements measured;
  std::vector<Test> tests;
  std::vector<SequenceState> states;
  for (int s = 0; s < *std::max_element(options.batch.begin(), options.batch.end()); ++s) {
    states.emplace_back(impl.model->state_layout());
  }
  ProgressReport report;
  const auto add = [&](int tokens, bool decode, int depth, int sequences) {
    if (tokens == 0) return;
    Result result;
    result.name = fmt::format("{}{}", decode ? "tg" : "pp", tokens);
    if (sequences > 1) result.name += fmt::format(" x{}", sequences);
    if (depth > 0) result.name += fmt::format(" @ d{}", depth);
    (decode ? result.n_gen : result.n_prompt) = tokens;
    result.n_batch = sequences;
    result.n_depth = depth;
    Test test{random_ids(engine, tokens), decode, sequences, depth, work_per_token(impl, decode)};
    if (decode) result.bytes_per_step = decode_bytes(*impl.model, test);
    tests.push_back(test);
    // The warm-up touches every weight and lets the clock of the CPU settle.
    if (decode) test.ids.resize(static_cast<std::size_t>(std::min(tokens, 8)));
    measure(impl, states, test);
    result.state_bytes = states.front().bytes();
    measured.results.push_back(std::move(result));
  };
  for (const int depth : options.depth) {
    for (const int tokens : options.prompt) add(tokens, false, depth, 1);
    for (const int tokens : options.generate) {
      for (const int sequences : options.batch) add(tokens, true, depth, sequences);
    }
  }
  measured.peak_rss = peak_rss_bytes();

  ThreadPool threads(engine.threads());
  const auto measure_peaks = [&] { measured.peaks.push_back(measure_machine(threads, impl.isa)); };
  measure_peaks();
  for (std::size_t t = 0; t < tests.size(); ++t) {
    measured.results[t].bound = bound_of(measured.results[t], tests[t], measured.peaks.front());
  }
  for (int r = 0; r < options.repeats; ++r) {
    for (std::size_t t = 0; t < tests.size(); ++t) {
      Result& result = measured.results[t];
      report.update({.phase = result.name, .done = r, .total = options.repeats, .unit = "runs"});
      result.samples.push_back(measure(impl, states, tests[t]));
      const MachinePeaks before = measured.peaks.back();
      measure_peaks();
      const MachinePeaks after = measured.peaks.back();
      const MachinePeaks around = {
          .read_bandwidth = 0.5 * (before.read_bandwidth + after.read_bandwidth),
          .int8_ops = 0.5 * (before.int8_ops + after.int8_ops),
          .fp32_flops = 0.5 * (before.fp32_flops + after.fp32_flops)};
      result.fractions.push_back(
          fraction_of_bound(result, result.samples.back(), tests[t], around));
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
          {"n_batch", result.n_batch},
          {"n_depth", result.n_depth},
          {"bytes_per_token", result.bytes_per_step / result.n_batch},
          {"state_bytes", result.state_bytes},
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
  const auto start = Clock::now();
  const Engine engine =
      options.dummy.empty()
          ? Engine::load(model, {.threads = options.threads, .mlock = options.mlock})
          : load_dummy(options);
  const double load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
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
                {"state_bytes", engine.impl()->model->state_layout()->bytes},
                {"load_seconds", load_seconds},
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
  const auto deepest = std::max_element(
      results.begin(), results.end(),
      [](const Result& a, const Result& b) { return a.state_bytes < b.state_bytes; });
  print("medians of {} runs; weights read per token {}, state {}, peak memory {}\n",
        options.repeats, format_bytes(static_cast<double>(weight_bytes)),
        format_bytes(static_cast<double>(deepest == results.end() ? 0 : deepest->state_bytes)),
        format_bytes(static_cast<double>(measured.peak_rss)));
  print(
      "measured between the runs with {} threads: read bandwidth {}/s, int8 peak {} Gop/s, fp32 "
      "peak {} Gflop/s\n",
      engine.threads(), format_bytes(read_bandwidth), format_rate(int8_ops / 1e9),
      format_rate(fp32_flops / 1e9));
  if (std::any_of(results.begin(), results.end(),
                  [](const Result& r) { return median(r.fractions) > 1; })) {
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
  app.add_option("-d,--depth", options->depth,
                 "Tokens that the state has consumed before, one or more; the rows that attention "
                 "would have kept of them are random")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("-b,--batch", options->batch,
                 "Sequences that are decoded together, one or more; rates count all their tokens")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
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
  add_mlock_option(app, options->mlock);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
