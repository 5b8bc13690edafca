#include "report/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/bootstrap.h"
#include "eval/windows.h"
#include "report/measures.h"
#include "report/units.h"

namespace krait {
namespace {

std::string percent(double share) { return fmt::format("{:.1f}%", 100 * share); }

std::string by_layer(std::vector<double> values, fmt::format_string<double&> format) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return "-";
  double median = quantile(values, 0.5), worst = *std::max_element(values.begin(), values.end());
  return fmt::format(format, median) + " (" + fmt::format(format, worst) + ")";
}

/// "74% (70-78)": median, lowest and highest.
std::string format_fractions(const std::vector<double>& fractions) {
  const auto [low, high] = std::minmax_element(fractions.begin(), fractions.end());
  return fmt::format("{:.0f}% ({:.0f}-{:.0f})", 100 * quantile(fractions, 0.5), 100 * *low,
                     100 * *high);
}

}  // namespace

Table speed_table(const std::vector<SpeedResult>& results) {
  Table table({"test", "tokens/s", "min", "max", "of the bound", "bound"});
  for (const SpeedResult& result : results) {
    const auto [low, high] = std::minmax_element(result.rates.begin(), result.rates.end());
    table.add({result.test.name(), format_rate(quantile(result.rates, 0.5)), format_rate(*low),
               format_rate(*high), format_fractions(result.fractions), result.bound});
  }
  return table;
}

Table loss_table(const DivergenceResult& result) {
  const auto interval = [](const Interval& i, const char* sign, int digits) {
    return sign[0] == '+' ? fmt::format("{:+.{}f} to {:+.{}f}", i.low, digits, i.high, digits)
                          : fmt::format("{:.{}f} to {:.{}f}", i.low, digits, i.high, digits);
  };
  Table table({"", "mean", "95% interval", "99.9%", "max"});
  table.add({"nll difference", fmt::format("{:+.5f}", result.nll_difference),
             interval(result.nll_difference_interval, "+", 5), "-", "-"});
  table.add({"KL", fmt::format("{:.6f}", result.kl_mean), interval(result.kl_interval, "", 6),
             fmt::format("{:.5f}", result.kl_p999), fmt::format("{:.5f}", result.kl_max)});
  table.add(
      {"top-1 agreement", fmt::format("{:.2f}%", 100 * result.top1_agreement), "-", "-", "-"});
  return table;
}

Table drift_table(const DriftResult& drift) {
  Table table({"tokens read", "mean KL", "+-", "nll difference", "+-", "top-1 agreement"});
  for (const DriftBin& bin : drift.bins) {
    table.add({fmt::format("{} to {}", bin.begin, bin.end - 1), fmt::format("{:.6f}", bin.kl.value),
               fmt::format("{:.6f}", bin.kl.error),
               fmt::format("{:+.5f}", bin.nll_difference.value),
               fmt::format("{:.5f}", bin.nll_difference.error),
               fmt::format("{:.2f}%", 100 * bin.agreement.value)});
  }
  return table;
}

Table site_table(const SiteErrors& errors) {
  Table table({"site", "max/RMS", "as kept", "kurtosis", "as kept", "relative squared error"});
  std::vector<std::string> roles;
  for (const SiteError& site : errors.sites) {
    if (std::find(roles.begin(), roles.end(), site.role) == roles.end()) roles.push_back(site.role);
  }
  for (const std::string& role : roles) {
    std::vector<double> error, before, after, kurtosis, kept;
    for (const SiteError& site : errors.sites) {
      if (site.role != role) continue;
      error.push_back(site.error);
      before.push_back(site.before.max_over_rms());
      after.push_back(site.after.max_over_rms());
      kurtosis.push_back(site.before.kurtosis);
      kept.push_back(site.after.kurtosis);
    }
    table.add({role, by_layer(before, "{:.0f}"), by_layer(after, "{:.0f}"),
               by_layer(kurtosis, "{:.1f}"), by_layer(kept, "{:.1f}"), by_layer(error, "{:.2g}")});
  }
  roles.clear();
  for (const ProductError& product : errors.products) {
    if (std::find(roles.begin(), roles.end(), product.role) == roles.end()) {
      roles.push_back(product.role);
    }
  }
  for (const std::string& role : roles) {
    std::vector<double> error;
    for (const ProductError& product : errors.products) {
      if (product.role == role) error.push_back(product.error);
    }
    table.add({"output of " + role, "-", "-", "-", "-", by_layer(error, "{:.2g}")});
  }
  return table;
}

Table recall_table(const std::vector<RecallCell>& cells, const std::vector<RecallCell>& reference) {
  std::vector<std::string> header = {"task",  "length", "distance", "items", "exact",
                                     "first", "chosen", "nll",      "gain",  "+-"};
  if (!reference.empty()) {
    header.insert(header.end(), {"chosen, ref.", "gain, ref.", "chosen, difference (95%)",
                                 "gain, difference (95%)"});
  }
  Table table(header);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const RecallCell& cell = cells[i];
    const RecallSummary own = summarize(cell);
    std::vector<std::string> row = {cell.task,
                                    std::to_string(cell.length),
                                    std::to_string(cell.distance),
                                    std::to_string(cell.items.size()),
                                    percent(own.exact.value),
                                    percent(own.first.value),
                                    percent(own.chosen.value),
                                    fmt::format("{:.3f}", own.nll.value),
                                    fmt::format("{:+.3f}", own.gain.value),
                                    fmt::format("{:.3f}", own.gain.error)};
    if (!reference.empty()) {
      const RecallSummary theirs = summarize(reference[i]);
      const RecallSummary difference = paired_difference(cell, reference[i]);
      const double quantile = student95(difference.groups);
      row.push_back(percent(theirs.chosen.value));
      row.push_back(fmt::format("{:+.3f}", theirs.gain.value));
      row.push_back(difference_text(difference.chosen, 3, quantile));
      row.push_back(difference_text(difference.gain, 4, quantile));
    }
    table.add(row);
  }
  return table;
}

Table scale_table(const Inspection& seen) {
  const StaticScales& scales = seen.scales;
  std::vector<std::string> present;
  for (const std::string& role : activation_roles(seen.layout)) {
    for (const auto& [layer, by_role] : scales) {
      if (!by_role.contains(role)) continue;
      present.push_back(role);
      break;
    }
  }
  std::vector<std::string> header{"layer"};
  header.insert(header.end(), present.begin(), present.end());
  Table table(header);
  const auto add_row = [&](int layer, const std::map<std::string, std::vector<float>>& by_role) {
    std::vector<std::string> row{layer < 0 ? "-" : std::to_string(layer)};
    for (const std::string& role : present) {
      const auto found = by_role.find(role);
      if (found == by_role.end()) {
        row.emplace_back("-");
      } else if (found->second.size() == 1) {
        row.push_back(fmt::format("{:.5g}", found->second[0]));
      } else {
        const auto [low, high] = std::minmax_element(found->second.begin(), found->second.end());
        row.push_back(fmt::format("{:.4g}..{:.4g}", *low, *high));
      }
    }
    table.add(std::move(row));
  };
  for (const auto& [layer, by_role] : scales) {
    if (layer >= 0) add_row(layer, by_role);
  }
  if (const auto outside = scales.find(-1); outside != scales.end()) add_row(-1, outside->second);
  return table;
}

}  // namespace krait
