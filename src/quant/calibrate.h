// Static scales: the float model runs over the calibration samples while observers watch.
#pragma once

#include <vector>

#include "models/model.h"
#include "quant/calibration_data.h"
#include "quant/plan.h"

namespace krait {

/// The scales of every site in plan.static_sites, in that order; sites whose roles share a scale
/// get the largest of their layer. Each sample starts from the zero state. Values of a rotated site
/// are rotated before they are observed; a state is observed once per sample, at its end (as Chiang
/// et al. 2024 do). Each group of a site with scales by groups has an observer of its own, which
/// sees its values alone. Errors: bad_data naming a site that saw NaN or an infinite value.
StaticScales calibrate(Context& ctx, const Model& model, const QuantizationPlan& plan,
                       const CalibrationData& data, const ProgressFn& progress);

/// Runs the model over all samples, each from the zero state, while `tap` watches.
void run_samples(Context& ctx, const Model& model, const CalibrationData& data, Tap& tap,
                 const char* stage, const ProgressFn& progress);

}  // namespace krait
