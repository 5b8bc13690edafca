// Calibration text that the float model writes itself.
#pragma once

#include <cstdint>

#include "io/json_fwd.h"
#include "krait/quantize.h"
#include "models/model.h"
#include "quant/calibration_data.h"

namespace krait {

/// `samples` sequences of seq_len tokens, drawn from the model's own distribution (temperature 1,
/// nothing cut off) after `first`, the token between documents, which begins each: a cross-section
/// of what the model was trained on, where no text of that kind is at hand (Williams et al. 2024,
/// arXiv 2410.17170). Ids that are padding are never drawn. Sequence i depends on seed and i alone.
/// Errors: bad_data if the model's logits are NaN or infinite.
CalibrationData generate_samples(Context& ctx, const Model& model, TokenId first, int samples,
                                 int seq_len, std::uint64_t seed, const ProgressFn& progress);

/// config.json's bos_token_id, else its eos_token_id, else 0. Errors: bad_data for an id that is
/// not below `vocab_rows`.
TokenId document_token(const Json& config, std::int64_t vocab_rows);

}  // namespace krait
