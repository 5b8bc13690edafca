// krait: quantizes selective state-space language models and runs them as integers.
#include <csignal>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "core/choices.h"
#include "krait/error.h"
#include "krait/version.h"

namespace krait::cli {
namespace {

const Command kCommands[] = {
    {"demo",
     "Quantize the demo model, say what was lost, and generate text from the integers",
     {"krait demo", "krait demo -p 'The river' -n 100 -o out/demo"},
     declare_demo},
    {"quantize",
     "Write a quantized checkpoint",
     {"krait quantize mamba-130m-hf -o mamba-130m-w8a8",
      "krait quantize mamba-130m-hf -o out --recipe quamba-w8a8 --calibration text.jsonl",
      "krait quantize models/krait-demo -o out --recipe my-recipe.json --samples 64 --force"},
     declare_quantize},
    {"plan",
     "What fits: memory and speed under each recipe, from shapes alone",
     {"krait plan mamba-130m-hf", "krait plan mamba-2.8b --memory 4G",
      "krait plan jamba-mini-4-layers --memory 8G --bandwidth 17 --all --json"},
     declare_plan},
    {"recipes",
     "List the recipes that ship: bits per weight, families, what they do",
     {"krait recipes", "krait recipes --all --json", "krait recipes --formats"},
     declare_recipes},
    {"mix",
     "Write a recipe of mixed precision: bits for each product, by what its rounding costs",
     {"krait mix models/krait-demo -o mixed.json --recipe krait-w3a8 --bits 3",
      "krait mix models/krait-demo -o mixed.json --bits 4 --widths 3,4 --json"},
     declare_mix},
    {"generate",
     "Continue a text",
     {"krait generate -p 'Once upon a time' -n 100",
      "krait generate mamba-130m-w8a8 -p 'The capital of France is' -n 20 --temperature 0",
      "cat prompt.txt | krait generate mamba-130m-w8a8 -p - --top-p 0.9 --seed 7 --stop END",
      "krait generate --prompts prompts.txt -n 40 --json"},
     declare_generate},
    {"chat",
     "Talk with a model, by the chat template that lies beside its tokenizer",
     {"krait chat falcon-h1-w8a8", "krait chat granite-4-w8a8 --system 'Answer in one sentence.'",
      "echo 'Who are you?' | krait chat granite-4-w8a8 --temperature 0"},
     declare_chat},
    {"perplexity",
     "Negative log-likelihood per token of a text",
     {"krait perplexity -f wiki.test.raw", "krait perplexity mamba-130m-w8a8 -f text.txt --json"},
     declare_perplexity},
    {"compare",
     "What a quantized model lost: difference of nll, KL divergence, top-1 agreement",
     {"krait compare mamba-130m-hf mamba-130m-w8a8 -f wiki.test.raw",
      "krait compare models/krait-demo out -f text.txt --seq-len 512 --sites --json",
      "krait compare mamba-130m-hf mamba-130m-w8a8 --tasks lambada_openai,arc_easy --data tasks"},
     declare_compare},
    {"eval",
     "Zero-shot tasks with the definitions of lm-evaluation-harness",
     {"krait eval --tasks lambada_openai,piqa --data tasks",
      "krait eval mamba-130m-w8a8 --reference mamba-130m-hf --tasks arc_easy --data tasks --limit "
      "200"},
     declare_eval},
    {"recall",
     "What a model remembers over long contexts: pass keys, pairs, repeated sequences",
     {"krait recall mamba-130m-w8a8 --reference mamba-130m-hf",
      "krait recall --kinds passkey --lengths 2048,8192 --distances 64,1024,0 --json"},
     declare_recall},
    {"drift",
     "How two models part as a text gets longer: what they write, and KL by position",
     {"krait drift mamba-130m-hf mamba-130m-w8a8 -f wiki.valid.raw",
      "krait drift models/krait-demo out -f text.txt --read 16384 --svg drift.svg --json"},
     declare_drift},
    {"sweep",
     "Recipes by models: one result file each, resumable, in shards",
     {"krait sweep sweep.json -o out/sweep", "krait sweep sweep.json -o out/sweep --shard 2/8"},
     declare_sweep},
    {"merge",
     "Join the results of several shards or machines; refuses those made with other settings",
     {"krait merge out/shard1 out/shard2 -o out/all", "krait merge out/* -o all --json"},
     declare_merge},
    {"report",
     "Tables and a picture of the results of sweeps",
     {"krait report out/sweep", "krait report out/shard1 out/shard2 -o report.md"},
     declare_report},
    {"logits",
     "Write the logits of every token as a NumPy file",
     {"krait logits -p 'Hello' -o logits.npy",
      "krait logits mamba-130m-hf --ids 1,2,3 -o logits.npy"},
     declare_logits},
    {"tokenize",
     "Token ids of a text",
     {"krait tokenize -p 'Hello world'", "krait tokenize mamba-130m-hf -f text.txt --pieces",
      "echo Hello | krait tokenize -p - --json"},
     declare_tokenize},
    {"inspect",
     "Architecture, tensors, bits per weight, what is quantized how, scales",
     {"krait inspect", "krait inspect mamba-130m-w8a8 --tensors", "krait inspect out --json"},
     declare_inspect},
    {"bench",
     "Tokens per second of prefill and decode, beside the bounds of this machine",
     {"krait bench", "krait bench mamba-130m-w8a8 -p 512 -n 128 -r 5 -t 4",
      "krait bench --dummy mamba-2.8b --recipe krait-w8a8 --json",
      "krait bench --dummy mamba-130m -p 32768 --beside 8"},
     declare_bench},
    {"info",
     "Version, CPU, instruction set in use, measured bandwidth and peaks",
     {"krait info", "krait info --threads 1 --json", "KRAIT_ISA=avx2 krait info"},
     declare_info},
};

constexpr std::size_t kNames = 30, kTexts = 70;  // columns of help

/// Lines of at most kTexts characters.
std::string wrapped(const std::string& text) {
  std::string lines;
  std::size_t start = 0;
  while (text.size() - start > kTexts) {
    std::size_t end = text.rfind(' ', start + kTexts);
    if (end == std::string::npos || end <= start) break;
    lines += text.substr(start, end - start) + "\n";
    start = end + 1;
  }
  return lines + text.substr(start);
}

/// Options as "-t,--threads N" and defaults as "=512"; limits are told where they are broken.
class HelpFormatter : public CLI::Formatter {
  std::string make_option_desc(const CLI::Option* option) const override {
    return wrapped(CLI::Formatter::make_option_desc(option));
  }
  std::string make_subcommand(const CLI::App* command) const override {
    std::ostringstream text;
    CLI::detail::format_help(text, command->get_name(), wrapped(command->get_description()),
                             column_width_);
    return text.str();
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0) return "";  // a flag
    std::string type = option->get_type_name();
    type = type.substr(0, type.find(':'));
    if (type == "INT" || type == "UINT") type = "N";
    if (type == "FLOAT") type = "X";
    std::string text = option->get_positional() ? "" : " " + type;
    std::string value = option->get_default_str();
    std::erase_if(value, [](char c) { return c == '[' || c == ']'; });  // of lists
    if (!value.empty()) text += "=" + value;
    if (option->get_required() && !option->get_positional()) text += " (required)";
    return text;
  }
};

/// CLI11 breaks its messages into lines.
std::string joined_lines(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

int fail_with(int code, const std::string& message) {
  note("krait: error: {}", joined_lines(message));
  return code;
}

/// The parser would only say that a command is missing.
void check_command_name(const std::vector<const char*>& words) {
  if (words.size() < 2 || words[1][0] == '-') return;
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (words[1] == std::string_view(command.name)) return;
    names.emplace_back(command.name);
  }
  throw UsageError(fmt::format("there is no command {}", unknown_name(words[1], names)));
}

/// An empty word is a variable of the shell that is not set, but for texts.
void check_values(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_type_name() == "TEXT" && !option->get_positional()) continue;
    for (const std::string& value : option->results()) {
      if (value.empty()) {
        throw UsageError(fmt::format("{}: the value is empty (see krait {} --help)",
                                     option->get_name(), command.get_name()));
      }
    }
  }
}

int parse_and_run(int argc, char** argv) {
  const bool asks_help = argc > 1 && argv[1] == std::string_view("help");
  std::vector<const char*> words(argv, argv + (asks_help ? 1 : argc));
  if (asks_help) {  // as krait COMMAND --help
    if (argc > 2) words.push_back(argv[2]);
    words.push_back("--help");
  }
  check_command_name(words);
  CLI::App app("Quantizes selective state-space language models and runs them as integers.",
               "krait");
  app.set_version_flag("--version", std::string("krait ") + version());
  app.require_subcommand(1);
  const auto formatter = std::make_shared<HelpFormatter>();
  formatter->column_width(kNames);
  app.formatter(formatter);
  Runner chosen;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    const Runner runner = command.declare(*sub);
    sub->add_flag_callback("-q,--quiet", be_quiet, "Report nothing on stderr but errors");
    sub->callback([&chosen, runner] { chosen = runner; });
    std::string footer = "Examples:";
    for (const char* example : command.examples) footer += std::string("\n  ") + example;
    sub->footer(footer);
  }
  app.footer(
      "'krait COMMAND --help' or 'krait help COMMAND' shows the options of a command.\n"
      "Environment: KRAIT_MODEL (default model), KRAIT_ISA (instruction set: see 'krait info'),\n"
      "KRAIT_EXPERTS (packed, mapped).\n"
      "Exit codes: 0 success, 1 failure, 2 wrong usage.");
  try {
    app.parse(static_cast<int>(words.size()), words.data());
    for (const CLI::App* command : app.get_subcommands()) check_values(*command);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help and --version
      const CLI::App* sub = &app;
      while (!sub->get_subcommands().empty()) sub = sub->get_subcommands().front();
      const bool is_version = dynamic_cast<const CLI::CallForVersion*>(&error) != nullptr;
      write_out((is_version ? std::string(error.what()) : sub->help(sub == &app ? "" : "krait")) +
                "\n");
      return kSuccess;
    }
    const std::string command =
        app.get_subcommands().empty() ? "" : " " + app.get_subcommands().front()->get_name();
    return fail_with(kUsage, std::string(error.what()) + " (see krait" + command + " --help)");
  }
  return chosen();
}

int guarded(int argc, char** argv) {
  int code = kSuccess;
  try {
    code = parse_and_run(argc, argv);
    flush_out();
    return code;
  } catch (const UsageError& error) {
    return fail_with(kUsage, error.what());
  } catch (const BrokenPipe&) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
    return kFailure;
  } catch (const Interrupted&) {
    return 128 + interrupt_signal();
  } catch (const Error& error) {
    return fail_with(kFailure, error.what());
  } catch (const std::bad_alloc&) {
    return fail_with(kFailure, "out of memory");
  } catch (const std::exception& error) {
    return fail_with(kFailure, error.what());
  }
}

}  // namespace
}  // namespace krait::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // writing to a closed pipe is an error like any other
  return krait::cli::guarded(argc, argv);
}
