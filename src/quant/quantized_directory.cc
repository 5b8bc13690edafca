#include "quant/quantized_directory.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "core/check.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace krait {
namespace {

using enum ErrorCode;
namespace fs = std::filesystem;

constexpr const char* kCopied[] = {"tokenizer.json",
                                   "tokenizer_config.json",
                                   "special_tokens_map.json",
                                   "added_tokens.json",
                                   "vocab.json",
                                   "merges.txt",
                                   "tokenizer.model",
                                   "chat_template.jinja",
                                   "chat_template.json",
                                   "generation_config.json",
                                   "LICENSE",
                                   "LICENSE.md",
                                   "LICENSE.txt",
                                   "NOTICE"};

bool writes(std::string_view name) {
  return name == "config.json" || name == "model.safetensors" || name == "README.md" ||
         std::ranges::find(kCopied, name) != std::end(kCopied);
}

bool is_marked(const std::string& directory) {
  try {
    const Json config = read_json_file(directory + "/config.json");
    const Json::json_pointer block("/quantization_config/krait");
    if (config.contains(block) && config.at(block).is_object()) return true;
    return safetensors_metadata(directory + "/model.safetensors").contains("krait_version");
  } catch (const Error&) {
    return false;
  }
}

/// The path without links, of as much of it as exists, and without a slash at its end.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::weakly_canonical(path, error);
  if (error) real = fs::absolute(path).lexically_normal();
  return real.has_filename() ? real : real.parent_path();
}

bool lies_in(const fs::path& path, const fs::path& directory) {
  return std::ranges::mismatch(directory, path).in1 == directory.end();
}

}  // namespace

std::span<const char* const> copied_files() noexcept { return kCopied; }

const OutputKind& quantized_directory() noexcept {
  static constexpr OutputKind kind{"krait quantize", writes, is_marked};
  return kind;
}

void check_output(const std::string& source, const std::string& output, bool overwrite) {
  check(!output.empty(), invalid_argument, "no output directory is given");
  std::error_code ignored;
  const fs::path from = resolved(source), to = resolved(output);
  check(from != to && !fs::equivalent(source, output, ignored), invalid_argument,
        "{} is the model itself: choose another output directory", output);
  if (!fs::exists(fs::symlink_status(output, ignored))) return;
  check(overwrite, io_error, "{} exists already", output);
  check(!lies_in(from, to), invalid_argument,
        "{} holds the model {}: it is not replaced; choose another output directory", output,
        source);
  check(!lies_in(to, from), invalid_argument,
        "{} lies in the model {}: it is not replaced; choose another output directory", output,
        source);
  for (const auto& entry : fs::directory_iterator(source, ignored)) {
    check(!lies_in(resolved(entry.path()), to), invalid_argument,
          "{} holds what {} links to: it is not replaced; choose another output directory", output,
          entry.path().string());
  }
  check_replaceable(output, quantized_directory());
}

void remove_quantized(const std::string& directory) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(directory, error))) return;
  check_replaceable(directory, quantized_directory());
  fs::remove_all(directory, error);
  check(!error, io_error, "cannot remove {}: {}", directory, error.message());
}

}  // namespace krait
