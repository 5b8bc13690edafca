#include <fmt/format.h>

#include <cmath>
#include <set>

#include "report/by_model.h"
#include "report/measures.h"

namespace krait {
namespace {

std::string cell(double value, fmt::format_string<double&> format) {
  return std::isnan(value) ? "-" : fmt::format(format, value);
}

std::string row_of(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

/// A header and the line below it: `texts` columns to the left, the others to the right.
std::string head_of(const std::vector<std::string>& cells, std::size_t texts) {
  std::string rule = "|";
  for (std::size_t i = 0; i < cells.size(); ++i) rule += i < texts ? "---|" : "---:|";
  return row_of(cells) + rule + "\n";
}

/// "+0.012 (-0.001 to +0.025)" of a difference with its interval.
std::string interval_text(const Json& difference, int digits) {
  const double mean = number_at(difference, "/mean");
  if (std::isnan(mean)) return "-";
  return fmt::format("{:+.{}f} ({:+.{}f} to {:+.{}f})", mean, digits, number_at(difference, "/low"),
                     digits, number_at(difference, "/high"), digits);
}

std::string main_table(const std::vector<ReportRow>& rows) {
  const auto tasks = tasks_of(rows);
  std::vector<std::string> header = {"recipe",         "MB",      "bits/weight", "perplexity",
                                     "nll difference", "mean KL", "99.9 % KL",   "top-1"};
  bool has_speed = false;
  for (const ReportRow& row : rows) has_speed |= row.result.contains("speed");
  if (has_speed) header.insert(header.end(), {"prefill, tokens/s", "decode, tokens/s"});
  for (const auto& [task, metric] : tasks) header.push_back(fmt::format("{} {}", task, metric));
  std::string text = head_of(header, 1);
  for (const ReportRow& row : rows) {
    const Json& r = row.result;
    if (is_failure(r)) continue;
    const Json divergence = first_text(r);
    std::vector<std::string> cells = {
        row.recipe,
        cell(row.bytes / 1e6, "{:.2f}"),
        cell(number_at(r, "/bits_per_weight"), "{:.2f}"),
        cell(number_at(divergence, "/model/perplexity"), "{:.3f}"),
        cell(number_at(divergence, "/nll_difference"), "{:+.5f}") + " (" +
            cell(number_at(divergence, "/nll_difference_low"), "{:+.5f}") + " to " +
            cell(number_at(divergence, "/nll_difference_high"), "{:+.5f}") + ")",
        cell(number_at(divergence, "/kl_mean"), "{:.6f}"),
        cell(number_at(divergence, "/kl_p999"), "{:.4f}"),
        cell(100 * number_at(divergence, "/top1_agreement"), "{:.2f} %")};
    if (has_speed) {
      cells.push_back(cell(number_at(r, "/speed/prefill"), "{:.0f}"));
      cells.push_back(cell(number_at(r, "/speed/decode"), "{:.0f}"));
    }
    for (const auto& [task, metric] : tasks) {
      const std::string at = fmt::format("/tasks/{}/{}", task, metric);
      const Json::json_pointer difference(at + "/difference");
      cells.push_back(cell(number_at(r, at + "/value"), "{:.4f}") + " " +
                      (r.contains(difference) ? interval_text(r.at(difference), 4) : ""));
    }
    text += row_of(cells);
  }
  return text + "\n";
}

/// The other texts of the settings.
std::string text_tables(const std::vector<ReportRow>& rows) {
  std::set<std::string> names;
  std::string first, text;
  for (const ReportRow& row : rows) {
    first = text_at(row.result, "/spec/settings/text/0/name");
    const auto texts = row.result.find("texts");
    if (texts == row.result.end() || !texts->is_object()) continue;
    for (const auto& [name, value] : texts->items()) names.insert(name);
  }
  names.erase(first);
  for (const std::string& name : names) {
    text += fmt::format("On {}:\n\n", name);
    text += head_of({"recipe", "nll difference", "mean KL", "top-1"}, 1);
    for (const ReportRow& row : rows) {
      if (is_failure(row.result)) continue;
      const Json& d = row.result.at("texts").value(name, Json());
      text += row_of({row.recipe,
                      cell(number_at(d, "/nll_difference"), "{:+.5f}") + " (" +
                          cell(number_at(d, "/nll_difference_low"), "{:+.5f}") + " to " +
                          cell(number_at(d, "/nll_difference_high"), "{:+.5f}") + ")",
                      cell(number_at(d, "/kl_mean"), "{:.6f}"),
                      cell(100 * number_at(d, "/top1_agreement"), "{:.2f} %")});
    }
    text += "\n";
  }
  return text;
}

/// Gains of the original, and what each recipe changes of them.
std::string recall_table(const std::vector<ReportRow>& rows) {
  std::vector<const ReportRow*> shown;
  for (const ReportRow& row : rows) {
    if (row.result.contains("recall") && !row.result["recall"].empty()) shown.push_back(&row);
  }
  if (shown.empty()) return "";
  std::vector<std::string> header = {"task", "length", "distance", "chosen", "gain"};
  for (const ReportRow* row : shown) header.insert(header.end(), {row->recipe, "gain difference"});
  std::string text =
      "Recall (original checkpoint, then each recipe's share of right choices and "
      "difference of the gain, nats per answer):\n\n" +
      head_of(header, 1);
  const Json& cells = shown.front()->result["recall"];
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const Json& cell_of_reference = cells[i];
    std::vector<std::string> line = {
        text_at(cell_of_reference, "/task"),
        cell(number_at(cell_of_reference, "/length"), "{:.0f}"),
        cell(number_at(cell_of_reference, "/distance"), "{:.0f}"),
        cell(100 * number_at(cell_of_reference, "/reference/chosen/mean"), "{:.1f} %"),
        cell(number_at(cell_of_reference, "/reference/gain/mean"), "{:+.3f}")};
    for (const ReportRow* row : shown) {
      const Json& own = row->result["recall"];
      const Json entry = i < own.size() ? own[i] : Json();
      const Json::json_pointer difference("/difference/gain");
      line.push_back(cell(100 * number_at(entry, "/chosen/mean"), "{:.1f} %"));
      line.push_back(entry.contains(difference) ? interval_text(entry.at(difference), 4) : "-");
    }
    text += row_of(line);
  }
  return text + "\n";
}

std::string drift_table(const std::vector<ReportRow>& rows) {
  std::string text;
  for (const ReportRow& row : rows) {
    const Json& r = row.result;
    if (!r.contains("drift")) continue;
    if (text.empty()) {
      text = "Greedy continuations: tokens until the first different one.\n\n" +
             head_of({"recipe", "median", "quartiles", "unchanged"}, 1);
    }
    text += row_of({row.recipe, cell(number_at(r, "/drift/agreed_median"), "{:.0f}"),
                    cell(number_at(r, "/drift/agreed_quartiles/0"), "{:.0f}") + " to " +
                        cell(number_at(r, "/drift/agreed_quartiles/1"), "{:.0f}"),
                    cell(100 * number_at(r, "/drift/unchanged"), "{:.0f} %")});
  }
  return text.empty() ? text : text + "\n";
}

/// Ranges before and after transforms and errors, the median over the layers and the worst.
std::string site_table(const ReportRow& row) {
  const auto errors = role_values(row.result, "sites", "/error");
  if (errors.empty()) return "";
  const auto of = [&](const char* list, const char* pointer) {
    return role_values(row.result, list, pointer);
  };
  const auto maxima = of("sites", "/before/max_over_rms"),
             after = of("sites", "/after/max_over_rms");
  const auto kurtosis = of("sites", "/before/kurtosis"), then = of("sites", "/after/kurtosis");
  const auto shown = [](const RoleValues& role, fmt::format_string<double&> format) {
    Layers layers = summarize_layers(role.values());
    return cell(layers.median, format) + " (" + cell(layers.worst, format) + ")";
  };
  std::string text =
      fmt::format("Sites under {}: median over the layers (worst layer).\n\n", row.recipe) +
      head_of({"site", "max / RMS", "as kept", "kurtosis", "as kept", "relative squared error"}, 1);
  for (std::size_t i = 0; i < errors.size(); ++i) {
    text += row_of({fmt::format("`{}`", errors[i].role), shown(maxima[i], "{:.0f}"),
                    shown(after[i], "{:.0f}"), shown(kurtosis[i], "{:.1f}"),
                    shown(then[i], "{:.1f}"), shown(errors[i], "{:.2g}")});
  }
  for (const RoleValues& product : of("products", "/error")) {
    text += row_of({fmt::format("output of `{}`", product.role), "-", "-", "-", "-",
                    shown(product, "{:.2g}")});
  }
  return text + "\n";
}

std::string failures_and_commands(const std::vector<ReportRow>& rows) {
  std::string text, commands;
  for (const ReportRow& row : rows) {
    if (is_failure(row.result)) {
      text += fmt::format("- {}: {}\n", row.recipe, text_at(row.result, "/error/message"));
    } else {
      commands += text_at(row.result, "/command") + "\n";
    }
  }
  if (!text.empty()) text = "No result:\n\n" + text + "\n";
  return commands.empty() ? text : text + "```sh\n" + commands + "```\n\n";
}

}  // namespace

std::string report_markdown(const ReportModels& models) {
  std::string text;
  for (const auto& [model, rows] : models) {
    text += fmt::format("## {}\n\n", model);
    text += main_table(rows) + text_tables(rows) + recall_table(rows) + drift_table(rows);
    for (const ReportRow& row : rows) text += site_table(row);
    text += failures_and_commands(rows);
  }
  return text;
}

}  // namespace krait
