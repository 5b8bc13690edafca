#include "report/measures.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "eval/bootstrap.h"
#include "io/file.h"
#include "quant/embedded.h"

namespace krait {
namespace {

Json mean_json(const Mean& mean) { return {{"mean", mean.value}, {"stderr", mean.error}}; }

}  // namespace

Json difference_json(const Mean& difference, double quantile) {
  const double half = quantile * difference.error;
  return {{"mean", difference.value},
          {"stderr", difference.error},
          {"low", difference.value - half},
          {"high", difference.value + half}};
}

std::string difference_text(const Mean& difference, int digits, double quantile) {
  const double half = quantile * difference.error;
  return fmt::format("{:+.{}f} ({:+.{}f} to {:+.{}f})", difference.value, digits,
                     difference.value - half, digits, difference.value + half, digits);
}

EvaluationText encode_evaluation_text(const std::string& text, const std::string& where,
                                      std::int64_t max_tokens, const Engine& engine) {
  EvaluationText result{engine.encode(text, false), text.size()};
  const auto most = static_cast<std::size_t>(max_tokens);
  if (most > 0 && most < result.ids.size()) {
    result.ids.resize(most);
    result.bytes = engine.decode(result.ids).size();
  }
  check(result.ids.size() >= 2, ErrorCode::invalid_argument,
        "{} has {} tokens: at least 2 are needed", where, result.ids.size());
  return result;
}

std::vector<std::int32_t> read_filler(const std::string& file, const Engine& engine) {
  const std::string text =
      file.empty() ? std::string(embedded_calibration_text()) : read_file(file);
  std::vector<std::int32_t> ids = engine.encode(text, false);
  check(!ids.empty(), ErrorCode::invalid_argument, "{} holds no text", file);
  return ids;
}

Json to_json(const PerplexityResult& result) {
  return {{"tokens", result.tokens},
          {"windows", result.windows},
          {"nll", result.nll},
          {"nll_error", result.nll_error},
          {"perplexity", result.perplexity},
          {"bits_per_byte", result.bits_per_byte}};
}

Json to_json(const DivergenceResult& result) {
  return {{"reference", to_json(result.reference)},
          {"model", to_json(result.model)},
          {"nll_difference", result.nll_difference},
          {"nll_difference_error", result.nll_difference_error},
          {"nll_difference_low", result.nll_difference_interval.low},
          {"nll_difference_high", result.nll_difference_interval.high},
          {"kl_mean", result.kl_mean},
          {"kl_low", result.kl_interval.low},
          {"kl_high", result.kl_interval.high},
          {"kl_p999", result.kl_p999},
          {"kl_max", result.kl_max},
          {"top1_agreement", result.top1_agreement}};
}

Json to_json(const std::vector<RecallCell>& cells, const std::vector<RecallCell>& reference) {
  Json list = Json::array();
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const RecallCell& cell = cells[i];
    const RecallSummary own = summarize(cell);
    Json json = {{"task", cell.task},
                 {"length", cell.length},
                 {"distance", cell.distance},
                 {"depth", cell.depth},
                 {"items", cell.items.size()},
                 {"chance", cell.chance},
                 {"exact", mean_json(own.exact)},
                 {"first", mean_json(own.first)},
                 {"chosen", mean_json(own.chosen)},
                 {"nll", mean_json(own.nll)},
                 {"gain", mean_json(own.gain)}};
    if (!reference.empty()) {
      const RecallSummary theirs = summarize(reference[i]);
      const RecallSummary difference = paired_difference(cell, reference[i]);
      json["reference"] = {{"exact", mean_json(theirs.exact)},
                           {"first", mean_json(theirs.first)},
                           {"chosen", mean_json(theirs.chosen)},
                           {"nll", mean_json(theirs.nll)},
                           {"gain", mean_json(theirs.gain)}};
      const double quantile = student95(difference.groups);
      const auto interval = [&](const Mean& mean) { return difference_json(mean, quantile); };
      json["difference"] = {{"exact", interval(difference.exact)},
                            {"first", interval(difference.first)},
                            {"chosen", interval(difference.chosen)},
                            {"nll", interval(difference.nll)},
                            {"gain", interval(difference.gain)}};
    }
    list.push_back(std::move(json));
  }
  return list;
}

Json to_json(const DriftResult& drift) {
  Json bins = Json::array();
  for (const DriftBin& bin : drift.bins) {
    bins.push_back({{"begin", bin.begin},
                    {"end", bin.end},
                    {"kl", mean_json(bin.kl)},
                    {"nll_difference", mean_json(bin.nll_difference)},
                    {"agreement", mean_json(bin.agreement)}});
  }
  return {{"generated", drift.generated},
          {"agreed", drift.agreed},
          {"agreed_median", drift.agreed_median},
          {"agreed_quartiles", {drift.agreed_low, drift.agreed_high}},
          {"unchanged", drift.unchanged},
          {"positions", std::move(bins)}};
}

Json to_json(const SpeedResult& result) {
  const SpeedTest& test = result.test;
  const Mean mean = mean_of(result.rates);
  const auto count = static_cast<double>(result.rates.size());
  const auto [low, high] = std::minmax_element(result.rates.begin(), result.rates.end());
  return {{"test", test.name()},
          {"n_prompt", test.decode ? 0 : test.tokens},
          {"n_gen", test.decode ? test.tokens : 0},
          {"n_batch", test.sequences},
          {"n_depth", test.depth},
          {"bytes_per_token", result.bytes_per_step / test.sequences},
          {"state_bytes", result.state_bytes},
          {"samples_ts", result.rates},
          {"avg_ts", mean.value},
          {"stddev_ts", mean.error * std::sqrt(count)},
          {"median_ts", quantile(result.rates, 0.5)},
          {"min_ts", *low},
          {"max_ts", *high},
          {"bound", result.bound},
          {"fraction_of_bound", quantile(result.fractions, 0.5)},
          {"fractions_of_bound", result.fractions}};
}

Json to_json(const SiteErrors& errors) {
  const auto known = [](double error) { return std::isnan(error) ? Json() : Json(error); };
  const auto range = [](const ValueRange& r) -> Json {
    return {{"absmax", r.absmax},
            {"rms", r.rms},
            {"max_over_rms", r.max_over_rms()},
            {"kurtosis", r.kurtosis},
            {"top_channel", r.top_channel}};
  };
  Json sites = Json::array(), products = Json::array();
  for (const SiteError& site : errors.sites) {
    sites.push_back({{"name", site.name},
                     {"role", site.role},
                     {"layer", site.layer},
                     {"error", known(site.error)},
                     {"before", range(site.before)},
                     {"after", range(site.after)}});
  }
  for (const ProductError& product : errors.products) {
    products.push_back({{"name", product.name},
                        {"role", product.role},
                        {"layer", product.layer},
                        {"error", known(product.error)}});
  }
  return {{"sites", std::move(sites)}, {"products", std::move(products)}};
}

}  // namespace krait
