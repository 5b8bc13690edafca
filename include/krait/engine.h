#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "krait/export.h"

namespace krait {

struct LoadedModel;
class Session;

/// Where the integer weights of a mixture's experts are: packed in memory, or left in the mapped
/// file and packed while they are multiplied. The logits are the same.
enum class ExpertMemory {
  automatic,  ///< as the environment variable KRAIT_EXPERTS says (packed, mapped); unset: packed if
              ///< they take at most half of the memory
  packed,
  mapped,
};

struct EngineOptions {
  int threads = 0;     ///< 0: all that this process may use
  bool mlock = false;  ///< keep the weights in RAM: pages of this process that are or come into
                       ///< memory after loading stay there. Errors: io_error above `ulimit -l`
  ExpertMemory experts = ExpertMemory::automatic;
};

/// A checkpoint whose files are in memory.
struct MemoryCheckpoint {
  std::string_view config;                  ///< config.json
  std::span<const std::byte> safetensors;   ///< model.safetensors
  std::string_view tokenizer = {};          ///< tokenizer.json, if there is one
  std::string_view generation_config = {};  ///< generation_config.json, if there is one
  std::shared_ptr<const void> owner = {};   ///< keeps `safetensors`; null: they are copied
};

/// What an engine is made of.
struct EngineInfo {
  std::string family;        ///< "mamba", "mamba2", "jamba", ...
  std::string architecture;  ///< "MambaForCausalLM"
  std::string recipe;        ///< by which it was quantized; "F32", "F16" or "BF16" if it was not
  std::string isa;           ///< instruction set in use: "avx512_vnni"
  int threads = 0;
  std::int64_t parameters = 0;  ///< elements of all weights, tied ones once
  std::int64_t layers = 0, d_model = 0;
  std::int64_t vocab_size = 0;            ///< ids at or above are padding and never sampled
  std::int64_t vocab_rows = 0;            ///< length of a row of logits
  std::size_t weight_bytes = 0;           ///< read for each token that is decoded alone
  std::size_t state_bytes = 0;            ///< of a sequence, whatever its length
  std::size_t state_bytes_per_token = 0;  ///< and for each of its tokens: attention
};

/// A loaded model with its tokenizer. Immutable and cheap to copy (copies share the model). Any
/// thread may use it at any time; forward passes of its sessions take turns.
class KRAIT_API Engine {
 public:
  /// Loads a Hugging Face directory, float or quantized by krait. Errors: Error.
  static Engine load(const std::string& directory, const EngineOptions& options = {});

  /// The same of files that are in memory. Errors: Error.
  static Engine load_from_memory(const MemoryCheckpoint& checkpoint,
                                 const EngineOptions& options = {});

  /// Text to token ids and back. Errors: not_found if the checkpoint has no tokenizer.json.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special = true) const;
  std::string decode(std::span<const std::int32_t> ids) const;

  std::int64_t vocab_size() const;  ///< ids at or above are padding and never sampled
  std::int64_t vocab_rows() const;  ///< length of a row of logits
  std::span<const std::int32_t> eos_ids() const;
  std::optional<std::int32_t> bos_id() const;  ///< that config.json names
  /// The token that is written so, special ones too ("<|im_end|>"), and what a token says on its
  /// own, special ones too. Errors: not_found without a tokenizer.
  std::optional<std::int32_t> token_id(std::string_view text) const;
  std::string token_text(std::int32_t id) const;
  int threads() const;
  EngineInfo info() const;
  std::string description()
      const;  ///< "mamba 3.6M parameters, quamba-w8a8, avx512_vnni, 2 threads"

  Session new_session() const;
  /// A session saved by Session::save() with the same model. Errors: bad_data, invalid_argument.
  Session restore(std::string_view bytes) const;

 private:
  friend struct EngineAccess;
  explicit Engine(std::shared_ptr<LoadedModel> model) : model_(std::move(model)) {}
  std::shared_ptr<LoadedModel> model_;
};

}  // namespace krait
