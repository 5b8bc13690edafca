// krait tokenize: ids of a text, without loading the weights.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "report/table.h"
#include "tokenizer/tokenizer.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model;
  TextInput input;
  bool pieces = false, no_special = false, json = false;
};

/// In double quotes; control characters and bytes that are no UTF-8 of their own as \xNN.
std::string quoted(const std::string& bytes) {
  const bool valid = [&] {
    try {
      static_cast<void>(Json(bytes).dump());
      return true;
    } catch (const Json::type_error&) {
      return false;
    }
  }();
  std::string text = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      text += "\\n";
    } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !valid)) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
  }
  return text + "\"";
}

int run(const Options& options) {
  const Tokenizer tokenizer = Tokenizer::load(resolve_model(options.model) + "/tokenizer.json");
  const std::string text = read_text(options.input);
  const std::vector<TokenId> ids = tokenizer.encode(text, !options.no_special);
  const auto piece = [&](TokenId id) { return tokenizer.decode({&id, 1}, false); };
  if (options.json) {
    Json json = {{"n_bytes", text.size()}, {"n_tokens", ids.size()}, {"ids", ids}};
    if (options.pieces) {
      json["pieces"] = Json::array();
      for (const TokenId id : ids) json["pieces"].push_back(piece(id));
    }
    print_json(json);
  } else if (options.pieces) {
    Table table({"id", "piece"});
    for (const TokenId id : ids) table.add({std::to_string(id), quoted(piece(id))});
    write_out(table.str());
  } else {
    for (std::size_t i = 0; i < ids.size(); ++i) print("{}{}", i > 0 ? " " : "", ids[i]);
    write_out("\n");
  }
  return kSuccess;
}

}  // namespace

Runner declare_tokenize(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  add_text_options(app, options->input, "Text to tokenize; - reads standard input",
                   "File to tokenize; - reads standard input");
  app.add_flag("--pieces", options->pieces, "Show the text of each token");
  app.add_flag("--no-special", options->no_special, "Add no beginning or end of text");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
