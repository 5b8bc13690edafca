// What a quantized model loses of its float original, on texts that the original writes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "eval/kept_reference.h"
#include "io/checkpoint.h"
#include "krait/engine.h"
#include "quant/quantize_to_memory.h"

namespace krait {

class OwnTextLoss {
 public:
  /// The model writes `samples` texts of seq_len tokens and keeps its logits for them, as far as
  /// they have room. threads: 0 for all. Errors: as load_model() and generate_samples().
  OwnTextLoss(const Checkpoint& source, int samples, int seq_len, std::uint64_t seed, int threads,
              const ProgressFn& progress = {});

  /// Mean KL(original || model) per token, in nats.
  double operator()(const QuantizedModel& model) const;

 private:
  int threads_;
  std::vector<std::int32_t> ids_;
  std::unique_ptr<const Engine> original_;
  std::unique_ptr<const KeptReference> reference_;
};

}  // namespace krait
