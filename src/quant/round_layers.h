// Weights rounded layer by layer, each on the inputs that it will have in the quantized model.
#pragma once

#include <map>
#include <string>

#include "models/model.h"
#include "quant/calibration_data.h"
#include "quant/write_tensors.h"

namespace krait {

/// The products' integers, by the name of the tensor that holds them, and their biases if they are
/// corrected. Layer after layer, and in a
/// layer input after input: the quantized model, everything before the product rounded already,
/// runs the samples from the layer's beginning while the second moments of the product's inputs are
/// summed; then the product is rounded as plan.recipe.rounding says. An expert with fewer tokens
/// than columns takes the moments of all experts of its layer, and without any token at all the
/// nearest integers. A head that is tied to the table is left out. `model` and `tensors` are the
/// float checkpoint. Costs one run of the model over the samples for each input of a layer and one
/// more; peak memory: two residual streams of all samples and two matrices of doubles [cols, cols].
/// Errors: bad_data naming a product that saw NaN or an infinite value.
RoundedTensors round_layers(Context& ctx, const Model& model, const TensorSource& tensors,
                            const QuantizationPlan& plan, const Json& config,
                            const CalibrationResult& calibrated, const CalibrationData& data,
                            const ProgressFn& progress);

}  // namespace krait
