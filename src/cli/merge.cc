// krait merge: the results of several shards or machines in one directory.
#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "io/file.h"
#include "report/results.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> directories;
  std::string output;
  bool json = false;
};

int run(const Options& options) {
  const Results results = read_results(options.directories);
  std::size_t failures = 0;
  for (const auto& [name, result] : results) failures += is_failure(result) ? 1 : 0;
  fs::create_directories(options.output);
  for (const auto& [name, result] : results) {
    write_file_atomic((fs::path(options.output) / (name + ".json")).string(), format_json(result));
  }
  if (options.json) {
    print_json({{"results", results.size()}, {"failures", failures}, {"output", options.output}});
  } else {
    print("{}", result_table(results).str());
    for (const auto& [name, result] : results) {
      if (is_failure(result)) print("{}: {}\n", name, text_at(result, "/error/message"));
    }
    print("{} results, {} of them failures: {}\n", results.size(), failures, options.output);
  }
  return failures == 0 ? kSuccess : kFailure;
}

}  // namespace

Runner declare_merge(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directories, "Directories of krait sweep")->required();
  app.add_option("-o,--output", options->output, "Directory for all results; one of DIR may be it")
      ->required()
      ->type_name("DIR");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
