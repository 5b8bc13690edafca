// A tiny engine with a byte tokenizer, for the tests of runtime and above.
#pragma once

#include <string>

#include "io/json.h"
#include "models/test_support.h"
#include "runtime/engine_access.h"
#include "runtime/sequence.h"

namespace krait {

inline constexpr std::int32_t kTestEos = 256;

/// tokenizer.json of byte-level BPE without merges: 256 bytes and an end of text.
inline std::string byte_tokenizer_json() {
  // GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100 and up.
  Json vocab = Json::object();
  int id = 0, moved = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    const int code = printable ? byte : moved++;
    std::string symbol;
    if (code < 0x80) {
      symbol = static_cast<char>(code);
    } else {
      symbol = {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
    }
    vocab[symbol] = id++;
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}};
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens",
               {{{"id", kTestEos},
                 {"content", "<|endoftext|>"},
                 {"single_word", false},
                 {"lstrip", false},
                 {"rstrip", false},
                 {"normalized", false},
                 {"special", true}}}},
              {"normalizer", nullptr},
              {"pre_tokenizer", byte_level},
              {"post_processor", nullptr},
              {"decoder", byte_level},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"ignore_merges", false},
                {"vocab", vocab},
                {"merges", Json::array()}}}}
      .dump();
}

/// Logits of all tokens, [ids, V], consumed from `state` in one call.
inline std::vector<float> all_logits(const Engine& engine, std::span<const std::int32_t> ids,
                                     SequenceState& state, Tap* tap = nullptr) {
  std::vector<float> logits(ids.size() * static_cast<std::size_t>(engine.vocab_rows()));
  const Step step{state, ids, LogitRows::all, logits.data()};
  executor_of(engine).run({&step, 1}, tap);
  return logits;
}

/// 257 tokens in 264 rows of the table.
inline Engine byte_engine(const EngineOptions& options = {.threads = 1}, std::uint64_t seed = 1) {
  TestCheckpoint checkpoint = tiny_mamba({.V = 264, .seed = seed});
  return make_engine({.config = checkpoint.config,
                      .generation_config = {{"eos_token_id", kTestEos}},
                      .tensors = checkpoint.source(),
                      .tokenizer = Tokenizer::parse(byte_tokenizer_json(), "bytes.json")},
                     options);
}

}  // namespace krait
