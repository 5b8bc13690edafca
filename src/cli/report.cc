// krait merge and krait report: the results of sweeps in one directory, or as tables and pictures.
#include <algorithm>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "report/by_model.h"
#include "report/results.h"

namespace krait::cli {
namespace {

struct Options {
  std::vector<std::string> directories;
  std::string output;
  bool json = false;
};

int merge(const Options& options) {
  const Results results = read_results(options.directories);
  const auto failures = std::count_if(results.begin(), results.end(),
                                      [](const auto& entry) { return is_failure(entry.second); });
  write_results(results, options.output);
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

int report(const Options& options) {
  const Results results = read_results(options.directories);
  if (options.json) {
    print_json(results);
    return kSuccess;
  }
  const ReportModels models = report_models(results);
  if (options.output.empty() || options.output == "-") {
    write_out("# Results\n\n" + report_markdown(models));
  } else {
    write_report(options.output, models);
    print("{} results of {} models: {}\n", results.size(), models.size(), options.output);
  }
  return kSuccess;
}

}  // namespace

Runner declare_merge(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directories, "Directories of krait sweep")->required();
  app.add_option("-o,--output", options->output, "Directory for all results; one of DIR may be it")
      ->required()
      ->transform(output_path())
      ->type_name("DIR");
  add_json_option(app, options->json);
  return [options] { return merge(*options); };
}

Runner declare_report(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directories, "Directories of krait sweep, of all shards")
      ->required();
  app.add_option("-o,--output", options->output,
                 "Markdown file to write, with SVG pictures beside it; default: to the terminal")
      ->type_name("FILE");
  add_json_option(app, options->json);
  return [options] { return report(*options); };
}

}  // namespace krait::cli
