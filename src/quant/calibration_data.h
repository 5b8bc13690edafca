// The token sequences that calibration runs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace krait {

struct CalibrationData {
  std::vector<std::vector<TokenId>> samples;  ///< each of 1 to seq_len tokens
  std::int64_t available = 0;                 ///< samples that the source could have given
  std::string source;                         ///< file name without directory, or "built in"
  std::string hash;                           ///< "sha256:..." of the source's bytes

  std::int64_t tokens() const;
};

/// Text to ids; the flag asks for the special tokens around a whole document.
using EncodeFn = std::function<std::vector<TokenId>(std::string_view, bool add_special)>;

struct CalibrationRequest {
  std::string path;  ///< "": the text that ships with krait
  int samples = 512;
  int seq_len = 512;
  std::uint64_t seed = 0;
  std::int64_t vocab_rows = 0;  ///< ids of token files must be below
};

/// Draws `samples` of seq_len tokens without replacement, in the order that the seed gives; all
/// there are if there are fewer. By the extension of the path:
///   .jsonl       one document a line, {"text": ...}: a sample is a document's first seq_len tokens
///   .npy         1-D or 2-D array of (u)int16, (u)int32 or (u)int64 ids, cut into pieces of
///   seq_len .bin         raw little-endian ids, uint16 if vocab_rows <= 65536 and uint32
///   otherwise, cut likewise other        text, tokenized as a whole and cut likewise
/// The last piece of a text or token file is dropped unless it is the only one.
/// Errors: not_found, io_error; bad_data for an empty or broken file, naming it and the place.
CalibrationData load_calibration(const CalibrationRequest& request, const EncodeFn& encode);

/// The ids of a .npy or .bin file. Errors: bad_data.
std::vector<TokenId> parse_token_file(std::string_view bytes, const std::string& path,
                                      std::int64_t vocab_rows);

}  // namespace krait
