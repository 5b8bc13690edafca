// krait info: what this build and this machine can do.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "core/cpu_info.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/machine/machine.h"
#include "krait/quantize.h"
#include "krait/version.h"
#include "report/table.h"
#include "report/units.h"

namespace krait::cli {
namespace {

struct Options {
  int threads = 0;
  bool json = false;
};

int run(const Options& options) {
  const Isa isa = select_isa();
  const int threads = options.threads > 0 ? options.threads : hardware_threads();
  ThreadPool one(1), all(threads);
  const double bandwidth_1 = measure_read_bandwidth(one, isa);
  const MachinePeaks peaks = measure_machine(all, isa);
  Json available = Json::array();
  std::string names;
  for (const Isa level : all_isas()) {
    if (!cpu_supports(level)) continue;
    available.push_back(name_of(level));
    names += (names.empty() ? "" : ", ") + std::string(name_of(level));
  }
  if (options.json) {
    print_json({{"version", version()},
                {"cpu_info", cpu_name()},
                {"isa", name_of(isa)},
                {"isa_available", available},
                {"n_threads", threads},
                {"read_bandwidth_1_thread", bandwidth_1},
                {"read_bandwidth", peaks.read_bandwidth},
                {"int8_ops", peaks.int8_ops},
                {"fp32_flops", peaks.fp32_flops},
                {"recipes", recipe_names()}});
    return kSuccess;
  }
  print("krait {}\n", version());
  print("CPU              {}\n", cpu_name());
  print("instruction set  {} (this CPU can do: {})\n", name_of(isa), names);
  print("threads          {}\n", threads);
  print("read bandwidth   {}/s with 1 thread, {}/s with {}\n", format_bytes(bandwidth_1),
        format_bytes(peaks.read_bandwidth), threads);
  print("int8 peak        {} Gop/s with {} threads\n", format_rate(peaks.int8_ops / 1e9), threads);
  print("fp32 peak        {} Gflop/s with {} threads\n", format_rate(peaks.fp32_flops / 1e9),
        threads);
  std::string line = "recipes         ";
  for (const std::string& name : recipe_names()) {
    if (line.size() + name.size() > 98) {
      print("{},\n", line);
      line = std::string(16, ' ');
    }
    line += (line.back() == ' ' ? " " : ", ") + name;
  }
  print("{}\n", line);
  return kSuccess;
}

}  // namespace

Runner declare_info(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
