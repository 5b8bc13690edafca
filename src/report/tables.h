// Results of measurements as tables of text.
#pragma once

#include <vector>

#include "eval/divergence.h"
#include "eval/drift.h"
#include "eval/recall.h"
#include "eval/site_errors.h"
#include "eval/speed.h"
#include "report/inspection.h"
#include "report/table.h"

namespace krait {

/// Of tests with bounds: medians, least and greatest.
Table speed_table(const std::vector<SpeedResult>& results);

/// What a model lost against its reference, with intervals.
Table loss_table(const DivergenceResult& result);

/// A row for each range of positions.
Table drift_table(const DriftResult& drift);

/// A row for each cell; `reference` is empty or as long as `cells`.
Table recall_table(const std::vector<RecallCell>& cells, const std::vector<RecallCell>& reference);

/// By role, the median of the layers and in brackets the worst.
Table site_table(const SiteErrors& errors);

/// A row for each layer, a column for each role that has static scales.
Table scale_table(const Inspection& seen);

}  // namespace krait
