// krait report: the results of sweeps as tables and pictures.
#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "io/file.h"
#include "report/by_model.h"
#include "report/sweep_file.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> directories;
  std::string output;
  bool json = false;
};

/// The text stands in `output`, the pictures beside it.
void write_report(const Options& options, const ReportModels& models) {
  const fs::path output(options.output);
  std::string text = "# Results\n\n";
  for (const Picture& picture : report_pictures(models)) {
    const std::string name = file_name_of(output.stem().string() + "-" + picture.name + ".svg");
    write_file_atomic((output.parent_path() / name).string(), picture.svg);
    text += fmt::format("![{}]({})\n\n", picture.title, name);
  }
  write_file_atomic(options.output, text + report_markdown(models));
}

int run(const Options& options) {
  const Results results = read_results(options.directories);
  if (options.json) {
    Json list = Json::object();
    for (const auto& [name, result] : results) list[name] = result;
    print_json(list);
    return kSuccess;
  }
  const ReportModels models = report_models(results);
  if (options.output.empty()) {
    write_out("# Results\n\n" + report_markdown(models));
  } else {
    write_report(options, models);
    print("{} results of {} models: {}\n", results.size(), models.size(), options.output);
  }
  return kSuccess;
}

}  // namespace

Runner declare_report(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directories, "Directories of krait sweep, of all shards")
      ->required();
  app.add_option("-o,--output", options->output,
                 "Markdown file to write, with SVG pictures beside it; default: to the terminal")
      ->type_name("FILE");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
