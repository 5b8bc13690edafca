// The results of a sweep in the order of a report: by model, the largest checkpoints first.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "eval/drift.h"
#include "io/json.h"
#include "report/results.h"

namespace krait {

struct ReportRow {
  std::string recipe;
  Json result;
  double bytes = 0;  ///< NaN: a failure
};
using ReportModels = std::map<std::string, std::vector<ReportRow>>;

ReportModels report_models(const Results& results);

/// The tasks that any row has, with the metric that papers report.
std::map<std::string, std::string> tasks_of(const std::vector<ReportRow>& rows);
/// The mean of a result's tasks in those metrics, and of the original checkpoint's; NaN without.
double mean_accuracy(const Json& result);

/// Median and largest of some layers' values.
struct Layers {
  double median = 0, worst = 0;
  std::size_t count = 0;  ///< values that are known
};
Layers summarize_layers(const std::vector<double>& values);

/// Of the entries of result["sites"][list] ("sites" or "products"), in their order: the roles, and
/// the values of a number below each entry, NaN where there is none.
struct RoleValues {
  std::string role;
  std::map<int, double> by_layer;
  std::vector<double> values() const;
};
std::vector<RoleValues> role_values(const Json& result, const char* list,
                                    const std::string& pointer);

/// Markdown of all models, with the commands that make each row again.
std::string report_markdown(const ReportModels& models);

struct Picture {
  std::string name;  ///< "kl-bits": of its file
  std::string title, svg;
};
/// All that the results have data for.
std::vector<Picture> report_pictures(const ReportModels& models);

/// KL over the position for one model.
std::string drift_svg(const std::string& name, const DriftResult& drift);

/// The text with its pictures before it, which lie beside `path`. Error: io_error.
void write_report(const std::string& path, const ReportModels& models);

}  // namespace krait
