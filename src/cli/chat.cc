// krait chat: a conversation in the terminal.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/sampling.h"
#include "core/check.h"
#include "io/file.h"
#include "models/config.h"
#include "runtime/engine_access.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, tokenizer, chat_template, system;
  GenerateOptions generate = {.max_tokens = 1024};
  int threads = 0;
  bool mlock = false, verbose = false;
};

constexpr const char* kHelp =
    "/system TEXT  say what the model is to be; without TEXT: nothing\n"
    "/undo         take the last question and its answer back\n"
    "/save FILE    write the conversation, and the state of the model after it\n"
    "/load FILE    go on with a conversation that was saved\n"
    "/help         this\n"
    "/quit         end; so does Ctrl-D\n"
    "Ctrl-C stops an answer. A line that ends in \\ goes on in the next one. With a space before "
    "it\n"
    "a / is text.";

/// Lines of standard input.
class Lines {
 public:
  /// nullopt at the end. Errors: Interrupted by a signal; io_error.
  std::optional<std::string> next() {
    std::size_t end = 0;
    while ((end = held_.find('\n')) == std::string::npos && fill()) {
    }
    if (held_.empty()) return std::nullopt;
    std::string line = held_.substr(0, end);
    held_.erase(0, end == std::string::npos ? end : end + 1);
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }
  void forget() { held_.clear(); }

 private:
  bool fill() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    throw_if_interrupted();
    if (::poll(&input, 1, -1) < 0) {
      throw_if_interrupted();
      return true;
    }
    std::array<char, 1 << 16> bytes;
    const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    check(count >= 0 || errno == EINTR, ErrorCode::io_error, "cannot read standard input: {}",
          std::strerror(errno));
    held_.append(bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
    return count != 0;
  }

  std::string held_;
};

class Chat {
 public:
  Chat(const Options& options, const Engine& engine, ChatFormat format)
      : options_(options), engine_(engine), conversation_(engine, std::move(format)) {
    conversation_.set_system(options.system);
  }

  int run() {
    while (!is_over_) {
      try {
        catch_interrupts();
        if (is_terminal_) write_err("> ");
        const std::optional<std::string> line = read_line();
        if (!line) break;
        if (line->empty()) continue;
        line->front() == '/' ? obey(*line) : answer(*line);
      } catch (const Interrupted&) {
        if (!is_terminal_ || interrupt_signal() != SIGINT) throw;
        write_err("\n");
        lines_.forget();
      } catch (const Error& error) {
        note("krait: error: {}", error.what());
        has_failed_ = true;
      } catch (const UsageError& error) {
        note("krait: error: {}", error.what());
        has_failed_ = true;
      }
    }
    return has_failed_ && !is_terminal_ ? kFailure : kSuccess;
  }

 private:
  /// A line, and those that it goes on in.
  std::optional<std::string> read_line() {
    std::optional<std::string> text = lines_.next();
    while (text && text->ends_with('\\')) {
      text->back() = '\n';
      const std::optional<std::string> more = lines_.next();
      if (!more) break;
      *text += *more;
    }
    return text;
  }

  void answer(const std::string& text) {
    GenerateOptions options = options_.generate;
    options.cancel = catch_interrupts();
    ProgressReport progress;
    bool has_begun = false, ends_line = true;
    const auto show = [&](std::string_view piece) {
      if (!has_begun) progress.finish();
      has_begun = true;
      if (piece.empty()) return;
      ends_line = piece.ends_with('\n');
      write_out(piece);
      flush_out();
    };
    Turn turn;
    try {
      turn = conversation_.ask(text, options, show, [&](const Progress& p) { progress.update(p); });
    } catch (const Error& error) {
      if (error.code() != ErrorCode::cancelled) throw;
      progress.finish();
      inform("stopped before the answer: the question is taken back");
      if (interrupt_signal() != SIGINT) throw Interrupted();
      return;
    }
    if (!ends_line || turn.result.text.empty()) write_out("\n");
    flush_out();
    tell(turn, options);
    if (interrupt_signal() == SIGTERM) throw Interrupted();
  }

  void tell(const Turn& turn, const GenerateOptions& options) const {
    if (!options_.verbose) {
      if (turn.result.finish_reason == FinishReason::length) {
        inform("({})", ending(turn.result, engine_, options));
      }
      return;
    }
    if (turn.is_again) {
      inform("(the conversation does not begin with what was read last: {} tokens are kept)",
             turn.known);
    }
    inform("({} tokens read after {} that were known; {}; {}{})", turn.read, turn.known,
           speed_text(std::ssize(turn.result.ids), turn.result.decode_seconds),
           ending(turn.result, engine_, options),
           options.temperature > 0 ? fmt::format("; seed {}", turn.result.seed) : "");
  }

  void obey(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::string rest =
        space == std::string::npos ? "" : CLI::detail::trim_copy(line.substr(space));
    if (command == "/help") {
      note("{}", kHelp);
    } else if (command == "/quit") {
      is_over_ = true;
    } else if (command == "/system") {
      conversation_.set_system(rest);
      inform("{}", rest.empty() ? "no system text" : "system text set");
    } else if (command == "/undo") {
      const std::optional<std::string> question = conversation_.undo();
      inform("{}", question ? "taken back: " + *question : "there is nothing to take back");
    } else if (command == "/save") {
      save(rest);
    } else if (command == "/load") {
      load(rest);
    } else {
      throw UsageError(fmt::format("there is no command {}: /help lists them", command));
    }
  }

  void save(const std::string& file) const {
    if (file.empty()) throw UsageError("give a file: /save FILE");
    check(!std::filesystem::exists(file) || is_saved_chat(read_file(file)),
          ErrorCode::invalid_argument, "{} is no saved conversation: it is not replaced", file);
    write_file_atomic(file, conversation_.save());
    inform("{} messages written to {}", conversation_.messages().size(), file);
  }

  void load(const std::string& file) {
    if (file.empty()) throw UsageError("give a file: /load FILE");
    const std::string why = conversation_.load(read_file(file), file);
    inform("{} messages read from {}", conversation_.messages().size(), file);
    if (!why.empty()) inform("all of it will be read again: {}", why);
  }

  const Options& options_;
  const Engine& engine_;
  Conversation conversation_;
  Lines lines_;
  const bool is_terminal_ = ::isatty(STDIN_FILENO) == 1;
  bool has_failed_ = false, is_over_ = false;
};

int run(const Options& options) {
  namespace fs = std::filesystem;
  const std::string model = resolve_model(options.model);
  EngineParts parts = read_engine_parts(model, options.tokenizer);
  check(parts.tokenizer.has_value(), ErrorCode::not_found,
        "there is no tokenizer.json in {}: give one by --tokenizer", model);
  const std::string beside = options.tokenizer.empty() ? model
                             : fs::is_directory(options.tokenizer)
                                 ? options.tokenizer
                                 : parent_directory(options.tokenizer);
  ChatFormat format = find_chat_format(beside, options.chat_template);
  // An answer also ends where the template says so.
  std::vector<std::int32_t> ends = eos_token_ids(parts.config, parts.generation_config, kAnyNumber);
  const std::vector<TokenId> of_turns = turn_ends(format, *parts.tokenizer);
  ends.insert(ends.end(), of_turns.begin(), of_turns.end());
  if (!parts.generation_config.is_object()) parts.generation_config = Json::object();
  parts.generation_config["eos_token_id"] = ends;

  const Engine engine =
      make_engine(std::move(parts), {.threads = options.threads, .mlock = options.mlock});
  if (format.is_plain) {
    inform("{} has no chat template: text is continued as it is typed", beside);
  }
  if (::isatty(STDIN_FILENO) == 1) inform("{}\n/help lists the commands", engine.description());
  return Chat(options, engine, std::move(format)).run();
}

}  // namespace

Runner declare_chat(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  app.add_option("--system", options->system, "What the model is to be, before all else")
      ->type_name("TEXT");
  app.add_option("--chat-template", options->chat_template,
                 "Jinja file (default: what lies beside the tokenizer)")
      ->type_name("FILE");
  add_tokenizer_option(app, options->tokenizer);
  add_sampling_options(app, options->generate);
  app.add_flag("--verbose", options->verbose, "Say after each answer what was read, and how fast");
  add_threads_option(app, options->threads);
  add_mlock_option(app, options->mlock);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
