// What every command of the program has in common.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace krait::cli {

constexpr int kSuccess = 0, kFailure = 1, kUsage = 2;

/// The command line makes no sense: one line on stderr and exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Runs a command whose options have been parsed; returns the exit code.
using Runner = std::function<int()>;

struct Command {
  const char* name;
  const char* summary;
  std::vector<const char*> examples;  ///< lines of the shell, shown by --help
  /// Adds options to `app` and returns what to run once they are parsed.
  Runner (*declare)(CLI::App& app);
};

Runner declare_quantize(CLI::App& app);
Runner declare_recipes(CLI::App& app);
Runner declare_plan(CLI::App& app);
Runner declare_mix(CLI::App& app);
Runner declare_generate(CLI::App& app);
Runner declare_chat(CLI::App& app);
Runner declare_perplexity(CLI::App& app);
Runner declare_compare(CLI::App& app);
Runner declare_eval(CLI::App& app);
Runner declare_drift(CLI::App& app);
Runner declare_recall(CLI::App& app);
Runner declare_logits(CLI::App& app);
Runner declare_sweep(CLI::App& app);
Runner declare_merge(CLI::App& app);
Runner declare_report(CLI::App& app);
Runner declare_tokenize(CLI::App& app);
Runner declare_inspect(CLI::App& app);
Runner declare_bench(CLI::App& app);
Runner declare_demo(CLI::App& app);
Runner declare_info(CLI::App& app);

constexpr std::int64_t kAnyNumber = std::numeric_limits<std::int32_t>::max();

/// For transform(): decimal numbers from `least` to `most`. Anything else is wrong usage, told in a
/// few words.
CLI::Validator whole_number(std::int64_t least, std::int64_t most = kAnyNumber);
/// For transform(): finite numbers for which `fits`; `range` says which these are.
CLI::Validator number(const std::string& range, bool (*fits)(double));
/// For transform(): numbers of 64 bits without a sign, and -1 where it means one by chance.
CLI::Validator seed_number(bool or_chance = false);
/// For transform(): files and directories to write, but not "-": standard output has other text.
CLI::Validator output_path();

/// An option that takes a list: "a,b" or "a, b".
template <typename T>
CLI::Option* add_list(CLI::App& app, const std::string& names, std::vector<T>& values,
                      const std::string& help) {
  const auto trim = [](std::string& text) {
    text = CLI::detail::trim_copy(text);
    return std::string();
  };
  return app.add_option(names, values, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(CLI::Validator(trim, ""));
}

/// Adds the optional positional MODEL; empty means default_model().
void add_model_argument(CLI::App& app, std::string& model);
void add_threads_option(CLI::App& app, int& threads);
void add_mlock_option(CLI::App& app, bool& mlock);
void add_json_option(CLI::App& app, bool& json);

/// `model`, or the default model if it is empty. Errors: not_found with what was looked for;
/// invalid_argument if it is not a directory.
std::string resolve_model(const std::string& model);

/// A reference and a model that is judged by it.
struct TwoModels {
  std::string reference, model, option;
};
/// REFERENCE MODEL, or MODEL --reference DIR.
void add_two_models(CLI::App& app, TwoModels& models);
/// Puts them where they belong. Errors: UsageError if one is missing or there are three.
TwoModels resolve_two_models(TwoModels models);

/// The trained checkpoint that comes with krait: $KRAIT_MODEL, else share/krait/models/krait-demo
/// of the installation that this program belongs to, else models/krait-demo of the source tree.
std::string default_model();

/// The text of a file, or of standard input for "-". Errors: not_found, io_error.
std::string read_input(const std::string& file);

/// -p TEXT or -f FILE; "-" reads standard input.
struct TextInput {
  std::string text, file;
  bool text_given = false;  ///< -p '' is an empty text
};
void add_text_options(CLI::App& app, TextInput& input, const char* text_help,
                      const char* file_help);
/// Errors: UsageError if neither was given; not_found, io_error.
std::string read_text(const TextInput& input);

}  // namespace krait::cli
