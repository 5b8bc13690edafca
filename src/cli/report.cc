// krait report: the results of sweeps as one table per model, and a picture.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/plot.h"
#include "cli/results.h"
#include "core/check.h"
#include "io/file.h"
#include "io/json.h"

namespace krait::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> directories;
  std::string output;
  bool json = false;
};

struct Row {
  std::string recipe;
  Json result;
  double bytes = 0;
};

/// By model, the largest results first.
std::map<std::string, std::vector<Row>> rows_of(const std::map<std::string, Json>& results) {
  std::map<std::string, std::vector<Row>> models;
  for (const auto& [name, result] : results) {
    models[text_at(result, "/spec/model")].push_back(
        {text_at(result, "/spec/recipe/name"), result, number_at(result, "/bytes")});
  }
  for (auto& [model, rows] : models) {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.bytes > b.bytes; });
  }
  return models;
}

/// The tasks that any row has, with the metric that papers report.
std::map<std::string, std::string> tasks_of(const std::vector<Row>& rows) {
  std::map<std::string, std::string> tasks;
  for (const Row& row : rows) {
    const auto found = row.result.find("tasks");
    if (found == row.result.end() || !found->is_object()) continue;
    for (const auto& [task, entry] : found->items()) {
      tasks[task] = entry.is_object() ? entry.value("headline", "acc") : "acc";
    }
  }
  return tasks;
}

std::string cell(double value, fmt::format_string<double&> format) {
  return std::isnan(value) ? "-" : fmt::format(format, value);
}

std::string markdown(const std::map<std::string, std::vector<Row>>& models) {
  std::string text;
  for (const auto& [model, rows] : models) {
    const auto tasks = tasks_of(rows);
    text += fmt::format("## {}\n\n", fs::path(model).filename().string());
    text +=
        "| recipe | MB | bits/weight | perplexity | nll difference | mean KL | 99.9 % KL | top-1 |";
    for (const auto& [task, metric] : tasks) text += fmt::format(" {} {} |", task, metric);
    text += "\n|---|---:|---:|---:|---:|---:|---:|---:|";
    for (std::size_t i = 0; i < tasks.size(); ++i) text += "---:|";
    text += "\n";
    for (const Row& row : rows) {
      const Json& r = row.result;
      const double top1 = number_at(r, "/divergence/top1_agreement");
      text += fmt::format(
          "| {} | {} | {} | {} | {} \u00b1 {} | {} | {} | {} |", row.recipe,
          cell(row.bytes / 1e6, "{:.2f}"), cell(number_at(r, "/bits_per_weight"), "{:.2f}"),
          cell(number_at(r, "/divergence/model/perplexity"), "{:.3f}"),
          cell(number_at(r, "/divergence/nll_difference"), "{:+.5f}"),
          cell(number_at(r, "/divergence/nll_difference_error"), "{:.5f}"),
          cell(number_at(r, "/divergence/kl_mean"), "{:.6f}"),
          cell(number_at(r, "/divergence/kl_p999"), "{:.4f}"), cell(100 * top1, "{:.2f} %"));
      for (const auto& [task, metric] : tasks) {
        const std::string at = fmt::format("/tasks/{}/{}", task, metric);
        text += fmt::format(" {} ({} \u00b1 {}) |",
                            cell(number_at(r, (at + "/value").c_str()), "{:.4f}"),
                            cell(number_at(r, (at + "/difference").c_str()), "{:+.4f}"),
                            cell(number_at(r, (at + "/difference_stderr").c_str()), "{:.4f}"));
      }
      text += "\n";
    }
    text += "\n";
  }
  return text;
}

/// Mean KL over bits per weight, one series per model. Results without loss have no place on a
/// logarithmic axis.
std::string picture(const std::map<std::string, std::vector<Row>>& models) {
  std::vector<Series> series;
  for (const auto& [model, rows] : models) {
    Series points{fs::path(model).filename().string(), {}};
    for (const Row& row : rows) {
      const double x = number_at(row.result, "/bits_per_weight");
      const double y = number_at(row.result, "/divergence/kl_mean");
      if (x > 0 && y > 0) points.points.push_back({x, y, row.recipe});
    }
    if (!points.points.empty()) series.push_back(std::move(points));
  }
  return series.empty() ? ""
                        : plot_svg({.title = "What is lost at how many bits",
                                    .x_label = "bits per weight, all tensors counted",
                                    .y_label = "mean KL to the original, nats per token"},
                                   series);
}

int run(const Options& options) {
  const auto results = read_results(options.directories);
  const auto models = rows_of(results);
  if (options.json) {
    Json list = Json::object();
    for (const auto& [name, result] : results) list[name] = result;
    print_json(list);
    return kSuccess;
  }
  std::string text = "# Results\n\n";
  const std::string svg = picture(models);
  if (!options.output.empty() && !svg.empty()) {
    const fs::path image = fs::path(options.output).replace_extension(".svg");
    write_file_atomic(image.string(), svg);
    text += fmt::format("![mean KL over bits per weight]({})\n\n", image.filename().string());
  }
  text += markdown(models);
  text +=
      "Differences are to the original checkpoint, paired by token or item, with their standard "
      "errors; KL in nats per token. Made by `krait sweep` and `krait report`.\n";
  if (options.output.empty()) {
    write_out(text);
  } else {
    write_file_atomic(options.output, text);
    print("{} results of {} models: {}\n", results.size(), models.size(), options.output);
  }
  return kSuccess;
}

}  // namespace

Runner declare_report(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directories, "Directories of krait sweep, of all shards")
      ->required();
  app.add_option("-o,--output", options->output,
                 "Markdown file to write, with an SVG beside it; default: to the terminal")
      ->type_name("FILE");
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
