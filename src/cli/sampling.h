// Options of everything that writes text: how tokens are chosen, and where a text ends.
#pragma once

#include <string>

#include "cli/command.h"
#include "krait/engine.h"
#include "krait/generate.h"

namespace krait::cli {

/// Adds them; options.max_tokens is the default of -n, whose -1 becomes more than anybody writes.
void add_sampling_options(CLI::App& app, GenerateOptions& options);

/// --tokenizer: tokenizer.json of another model than the one that runs.
void add_tokenizer_option(CLI::App& app, std::string& tokenizer);

/// Why a text ended, in words: "ended at 128 tokens (-n)".
std::string ending(const GenerateResult& result, const Engine& engine,
                   const GenerateOptions& options);
/// "40 tokens, 312 tokens/s".
std::string speed_text(std::int64_t tokens, double seconds);

}  // namespace krait::cli
