// One reference that many models are compared with over the same text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "krait/engine.h"

namespace krait {

/// The logits of an engine over the windows of a text, computed once: as many windows as `bytes`
/// have room for are kept, the others are run anew for every model. The engine and the ids must
/// outlive it. Errors: as compare().
class KeptReference {
 public:
  KeptReference(const Engine& engine, std::span<const std::int32_t> ids, std::int64_t seq_len,
                std::size_t bytes);

  /// Mean KL(reference || model) per token, compare()'s kl_mean to the bit.
  double divergence_of(const Engine& model) const;

 private:
  const Engine& engine_;
  std::span<const std::int32_t> ids_;
  std::int64_t seq_len_;
  std::vector<std::vector<float>> logits_;  ///< of the first windows: [tokens - 1, vocab_rows]
};

}  // namespace krait
