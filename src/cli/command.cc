#include "cli/command.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "core/check.h"
#include "core/printable.h"
#include "io/file.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

/// The directory of this program's data, installed or in the source tree.
std::vector<fs::path> data_directories() {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  return {program.parent_path().parent_path() / KRAIT_INSTALL_DATADIR, fs::path(KRAIT_SOURCE_DIR)};
}

/// The whole of a text as a number; false if it is none or too large.
template <typename T>
bool parse(const std::string& text, T& value) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end;
}

}  // namespace

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  const auto check_text = [=](std::string& text) -> std::string {
    std::int64_t value = 0;
    const std::string trimmed = CLI::detail::trim_copy(text);
    if (parse(trimmed, value) && value >= least && value <= most) {
      text = std::to_string(value);
      return "";
    }
    const bool is_small = most == kAnyNumber && value <= most && trimmed.size() < 11;
    return fmt::format(
        "should be a whole number {}, got {}",
        is_small ? fmt::format("of at least {}", least) : fmt::format("from {} to {}", least, most),
        printable(text, 40));
  };
  return CLI::Validator(check_text, "");
}

CLI::Validator number(const std::string& range, bool (*fits)(double)) {
  const auto check_text = [=](std::string& text) -> std::string {
    double value = 0;
    text = CLI::detail::trim_copy(text);
    if (parse(text, value) && std::isfinite(value) && fits(value)) return "";
    return fmt::format("should be {}, got {}", range, printable(text, 40));
  };
  return CLI::Validator(check_text, "");
}

CLI::Validator seed_number(bool or_chance) {
  const auto check_text = [or_chance](std::string& text) -> std::string {
    std::uint64_t value = 0;
    const std::string trimmed = CLI::detail::trim_copy(text);
    if (or_chance && trimmed == "-1") return "";
    if (parse(trimmed, value)) {
      text = std::to_string(value);
      return "";
    }
    return fmt::format("should be a whole number from 0 to {}{}, got {}",
                       std::numeric_limits<std::uint64_t>::max(),
                       or_chance ? ", or -1 for one by chance" : "", printable(text, 40));
  };
  return CLI::Validator(check_text, "");
}

CLI::Validator output_path() {
  const auto check_text = [](std::string& path) -> std::string {
    return path != "-" ? "" : "cannot be standard output; for a file of that name give ./-";
  };
  return CLI::Validator(check_text, "");
}

void add_two_models(CLI::App& app, TwoModels& models) {
  app.add_option("REFERENCE", models.reference,
                 "Directory of the reference, usually the float model")
      ->required();
  app.add_option("MODEL", models.model, "Directory of the model to judge");
  app.add_option("--reference", models.option, "The reference, if MODEL is the only directory")
      ->type_name("DIR");
}

TwoModels resolve_two_models(TwoModels models) {
  if (models.model.empty() == models.option.empty()) {
    throw UsageError("give two models: REFERENCE MODEL, or MODEL --reference REFERENCE");
  }
  if (models.model.empty()) models = {models.option, models.reference, ""};
  return models;
}

void add_model_argument(CLI::App& app, std::string& model) {
  app.add_option(
      "MODEL", model,
      "Directory of a Hugging Face checkpoint (default: $KRAIT_MODEL, else the demo model)");
}

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("-t,--threads", threads, "Threads (default: all that this process may use)")
      ->transform(whole_number(1, 1024))
      ->type_name("N");
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

std::string read_input(const std::string& file) {
  if (file != "-") return read_file(file);
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  check(!std::cin.bad(), ErrorCode::io_error, "cannot read standard input");
  return text;
}

std::string read_text(const TextInput& input) {
  if (!input.text_given && input.file.empty()) throw UsageError("give a text: -p TEXT or -f FILE");
  if (!input.file.empty()) return read_input(input.file);
  return input.text == "-" ? read_input("-") : input.text;
}

}  // namespace krait::cli
