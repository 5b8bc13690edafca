#include "eval/own_text.h"

#include "kernels/microkernels.h"
#include "quant/calibration_data.h"
#include "quant/generate_samples.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

/// Of the original's logits, to be kept: all of 16 samples of 512 tokens for vocabularies up to
/// 32,000.
constexpr std::size_t kReferenceBytes = std::size_t{1} << 30;

Engine engine_of(const Json& config, std::shared_ptr<const TensorSource> tensors, int threads) {
  return make_engine({.config = config,
                      .generation_config = {},
                      .tensors = std::move(tensors),
                      .tokenizer = std::nullopt},
                     {.threads = threads});
}

}  // namespace

OwnTextLoss::OwnTextLoss(const Checkpoint& source, int samples, int seq_len, std::uint64_t seed,
                         int threads, const ProgressFn& progress)
    : threads_(threads) {
  original_ = std::make_unique<Engine>(engine_of(source.config, source.tensors, threads));
  const Model& model = model_of(*original_);
  const TokenId first = document_token(source.config, model.info().vocab_rows);
  const CalibrationData data = executor_of(*original_).exclusively([&](Context& ctx) {
    return generate_samples(ctx, model, first, samples, seq_len, seed, progress);
  });
  for (const auto& sample : data.samples) ids_.insert(ids_.end(), sample.begin(), sample.end());
  reference_ = std::make_unique<KeptReference>(*original_, ids_, seq_len, kReferenceBytes);
}

double OwnTextLoss::operator()(const QuantizedModel& model) const {
  return reference_->divergence_of(engine_of(model.config, model.tensors, threads_));
}

}  // namespace krait
