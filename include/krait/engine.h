#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace krait {

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

/// A loaded model with its tokenizer. Immutable and cheap to copy (copies share the model).
/// Sessions of one engine may be used from several threads; their forward passes take turns.
class Engine {
 public:
  /// Loads a Hugging Face directory, float or quantized by krait. Errors: Error.
  static Engine load(const std::string& directory, const EngineOptions& options = {});

  /// Text to token ids and back. Errors: not_found if the checkpoint has no tokenizer.json.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special = true) const;
  std::string decode(std::span<const std::int32_t> ids) const;

  std::int64_t vocab_size() const;  ///< ids at or above are padding and never sampled
  std::int64_t vocab_rows() const;  ///< length of a row of logits
  std::span<const std::int32_t> eos_ids() const;
  int threads() const;
  std::string description()
      const;  ///< "mamba 3.6M parameters, quamba-w8a8, avx512_vnni, 2 threads"

  Session new_session() const;
  /// A session saved by Session::save() with the same model. Errors: bad_data, invalid_argument.
  Session restore(std::string_view bytes) const;

  struct Impl;
  const std::shared_ptr<Impl>& impl() const noexcept { return impl_; }

 private:
  friend class Session;
  explicit Engine(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace krait
