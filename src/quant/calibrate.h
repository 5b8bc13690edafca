// Static scales: the float model runs over the calibration samples while observers watch.
#pragma once

#include <vector>

#include "models/model.h"
#include "quant/calibration_data.h"
#include "quant/plan.h"

namespace krait {

/// The scale of every site in plan.static_sites, in that order; sites whose roles share a scale get
/// the largest of their layer. Each sample starts from the zero state. Values of a rotated site are
/// rotated before they are observed; a state is observed once per sample, at its end (as Chiang et
/// al. 2024 do). Errors: bad_data naming a site that saw NaN or an infinite value.
std::vector<float> calibrate(Context& ctx, const Model& model, const QuantizationPlan& plan,
                             const CalibrationData& data, const ProgressFn& progress);

}  // namespace krait
