// Prints the ids of every line of a file as the library encodes them, for comparison with other
// tokenizers: tokenize_lines TOKENIZER (--json|--raw|--whole) FILE [--no-special] [--decode]
//                                                              [--time REPEATS]
// --json: a line is a JSON string; --raw: a line is its bytes, newline included; --whole: the file
// is one text. --decode prints the decoded text as a JSON string (U+FFFD for invalid bytes) behind
// the ids. --time prints the seconds of each repetition instead of ids.
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace {

std::vector<std::string> read_texts(const std::string& path, const std::string& mode) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  if (mode == "--whole") return {bytes};
  std::vector<std::string> texts;
  for (std::size_t begin = 0; begin < bytes.size();) {
    std::size_t end = bytes.find('\n', begin);
    end = end == std::string::npos ? bytes.size() : end + 1;
    const std::string line = bytes.substr(begin, end - begin);
    texts.push_back(mode == "--json" ? nlohmann::json::parse(line).get<std::string>() : line);
    begin = end;
  }
  return texts;
}

void print_line(const krait::Tokenizer& tokenizer, const std::string& text, bool special,
                bool decode) {
  const std::vector<krait::TokenId> ids = tokenizer.encode(text, special);
  std::string line;
  for (const krait::TokenId id : ids) line += std::to_string(id) + ' ';
  if (decode) {
    krait::TextStream stream(tokenizer, false);
    std::string decoded;
    for (const krait::TokenId id : ids) decoded += stream.push(id);
    line += '\t' + nlohmann::json(decoded + stream.flush()).dump(-1, ' ', true);
  }
  std::puts(line.c_str());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::fputs(
        "usage: tokenize_lines TOKENIZER --json|--raw|--whole FILE [--no-special] "
        "[--decode] [--time REPEATS]\n",
        stderr);
    return 2;
  }
  bool special = true, decode = false;
  int repeats = 0;
  for (int i = 4; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--no-special") special = false;
    if (option == "--decode") decode = true;
    if (option == "--time" && i + 1 < argc) repeats = std::stoi(argv[++i]);
  }
  const krait::Tokenizer tokenizer = krait::Tokenizer::load(argv[1]);
  const std::vector<std::string> texts = read_texts(argv[3], argv[2]);
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    std::size_t count = 0;
    for (const std::string& text : texts) count += tokenizer.encode(text, special).size();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.6f %zu\n", seconds.count(), count);
  }
  if (repeats == 0) {
    for (const std::string& text : texts) print_line(tokenizer, text, special, decode);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "tokenize_lines: %s\n", error.what());
  return 1;
}
