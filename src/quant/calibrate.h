// Static scales: the float model runs over the calibration samples while observers watch.
#pragma once

#include <vector>

#include "models/model.h"
#include "quant/calibration_data.h"
#include "quant/write_tensors.h"

namespace krait {

/// The factors of every plan.smoothings and the scales of every site in plan.static_sites, in that
/// order; sites whose roles share a scale get the largest of their layer. Each sample starts from
/// the zero state. `model` and `tensors` are the float checkpoint: values of a site that is
/// smoothed or rotated are changed likewise before they are observed, which takes a second run over
/// the data where there are both factors and scales. A state is observed once per sample, at its
/// end (as Chiang et al. 2024 do). Each group of a site with scales by groups has an observer of
/// its own, which sees its values alone. Errors: bad_data naming a site that saw NaN or an infinite
/// value.
CalibrationResult calibrate(Context& ctx, const Model& model, const TensorSource& tensors,
                            const QuantizationPlan& plan, const CalibrationData& data,
                            const ProgressFn& progress);

/// Runs the model over all samples, each from the zero state, while `tap` watches.
void run_samples(const Context& ctx, Tap& tap, const Model& model, const CalibrationData& data,
                 const char* what, const ProgressFn& progress);

}  // namespace krait
