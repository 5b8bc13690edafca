// What every command of the program has in common.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
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

/// Adds the optional positional MODEL; empty means default_model().
void add_model_argument(CLI::App& app, std::string& model);
void add_threads_option(CLI::App& app, int& threads);
void add_mlock_option(CLI::App& app, bool& mlock);
void add_json_option(CLI::App& app, bool& json);

/// `model`, or the default model if it is empty. Errors: not_found with what was looked for;
/// invalid_argument if it is not a directory.
std::string resolve_model(const std::string& model);

/// The trained checkpoint that comes with krait: $KRAIT_MODEL, else share/krait/models/krait-demo
/// of the installation that this program belongs to, else models/krait-demo of the source tree.
std::string default_model();
/// The same for a file of the share/ directory.
std::string shared_file(const std::string& name);

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
