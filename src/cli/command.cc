#include "cli/command.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "core/check.h"
#include "io/json.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

/// The directory of this program's data, installed or in the source tree.
std::vector<fs::path> data_directories() {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  return {program.parent_path().parent_path() / KRAIT_INSTALL_DATADIR, fs::path(KRAIT_SOURCE_DIR)};
}

}  // namespace

void add_model_argument(CLI::App& app, std::string& model) {
  app.add_option(
      "MODEL", model,
      "Directory of a Hugging Face checkpoint (default: $KRAIT_MODEL, else the demo model)");
}

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("-t,--threads", threads, "Threads (default: all that this process may use)")
      ->check(CLI::Range(1, 1024));
}

void add_mlock_option(CLI::App& app, bool& mlock) {
  app.add_flag("--mlock", mlock, "Keep the weights in RAM rather than let them be paged out");
}

void add_json_option(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "Print one JSON object instead of a table");
}

std::string default_model() {
  if (const char* chosen = std::getenv("KRAIT_MODEL"); chosen && *chosen) return chosen;
  std::string looked;
  for (const fs::path& directory : data_directories()) {
    const fs::path model = directory / "models" / "krait-demo";
    if (fs::exists(model / "config.json")) return model.string();
    looked += (looked.empty() ? "" : ", ") + model.string();
  }
  fail(ErrorCode::not_found, "no MODEL given and no demo model found: looked for {}", looked);
}

std::string shared_file(const std::string& name) {
  std::string looked;
  for (const fs::path& directory : data_directories()) {
    const fs::path file = directory / "share" / name, installed = directory / name;
    if (fs::exists(file)) return file.string();
    if (fs::exists(installed)) return installed.string();
    looked += (looked.empty() ? "" : ", ") + installed.string();
  }
  fail(ErrorCode::not_found, "{} not found: looked for {}", name, looked);
}

std::string resolve_model(const std::string& model) {
  std::string directory = model.empty() ? default_model() : model;
  std::error_code ignored;
  check(fs::exists(directory, ignored), ErrorCode::not_found, "no such model: {}", directory);
  check(fs::is_directory(directory, ignored), ErrorCode::invalid_argument,
        "{} is not a directory: expected a Hugging Face checkpoint with config.json, weights and "
        "tokenizer.json",
        directory);
  return directory;
}

void add_text_options(CLI::App& app, TextInput& input, const char* text_help,
                      const char* file_help) {
  CLI::Option* text = app.add_option("-p,--prompt", input.text, text_help);
  text->each([&input](const std::string&) { input.text_given = true; });
  text->type_name("TEXT");
  app.add_option("-f,--file", input.file, file_help)->excludes(text)->type_name("FILE");
}

std::string read_text(const TextInput& input) {
  if (!input.text_given && input.file.empty()) throw UsageError("give a text: -p TEXT or -f FILE");
  if (input.file == "-" || (input.file.empty() && input.text == "-")) {
    std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
    check(!std::cin.bad(), ErrorCode::io_error, "cannot read standard input");
    return text;
  }
  return input.file.empty() ? input.text : read_file(input.file);
}

}  // namespace krait::cli
