// krait sweep: recipes by models, one result file each, from one JSON file.
#include <algorithm>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/choices.h"
#include "report/results.h"
#include "report/run_sweep.h"

namespace krait::cli {
namespace {

struct Options {
  std::string file, shard;
  std::vector<std::string> only;
  SweepOptions sweep;
  bool json = false;
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

std::vector<SweepCell> of_shard(const std::vector<SweepCell>& cells, const Shard& shard) {
  std::vector<SweepCell> own;
  for (std::size_t i = shard.index - 1; i < cells.size(); i += shard.count) own.push_back(cells[i]);
  return own;
}

int run(Options& options) {
  const Shard shard = parse_shard(options.shard);
  const SweepFile sweep = read_sweep_file(options.file);
  const std::vector<SweepCell> cells = chosen(cells_of(sweep), options.only);
  const std::vector<SweepCell> own = of_shard(cells, shard);
  catch_interrupts();
  ProgressReport report;
  options.sweep.file = options.file;
  options.sweep.progress = [&](const Progress& progress) {
    throw_if_interrupted();
    report.update(progress);
  };
  options.sweep.on_result = [&](const SweepCell& cell, const std::string& path,
                                const Json& result) {
    report.finish();
    if (is_failure(result)) {
      note("{}: {}", cell.name, text_at(result, "/error/message"));
    } else if (!options.json) {
      print("{}\n", path);
    }
    flush_out();
  };
  const SweepCounts counts = run_sweep(sweep, own, options.sweep);
  const std::size_t elsewhere = cells.size() - own.size();
  if (options.json) {
    print_json({{"cells", cells.size()},
                {"made", counts.made},
                {"kept", counts.kept},
                {"failed", counts.failed},
                {"other_shards", elsewhere}});
  } else {
    print("{} of {} results made, {} were there, {} failed, {} belong to other shards\n",
          counts.made, cells.size(), counts.kept, counts.failed, elsewhere);
  }
  return counts.failed == 0 ? kSuccess : kFailure;
}

}  // namespace

Runner declare_sweep(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("FILE", options->file,
                 "JSON: models, recipes and what to measure (docs/reference/formats.md)")
      ->required();
  app.add_option("-o,--output", options->sweep.output,
                 "Directory of the results; finished ones are not computed again")
      ->required()
      ->transform(output_path())
      ->type_name("DIR");
  app.add_option("--shard", options->shard, "Only every N-th result, from the I-th on")
      ->type_name("I/N");
  add_list(app, "--only", options->only, "Only the results of these names, MODEL~RECIPE")
      ->type_name("NAMES");
  app.add_flag("--keep", options->sweep.keep, "Keep the quantized checkpoints beside the results");
  add_threads_option(app, options->sweep.threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
