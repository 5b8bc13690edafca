#include "report/overview.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/speed.h"
#include "eval/windows.h"
#include "quant/embedded.h"
#include "report/measures.h"
#include "report/units.h"

namespace krait {
namespace {

constexpr std::size_t kHeldOutBytes = 80'000;

}  // namespace

SplitText split_shipped_text() {
  const std::string_view text = embedded_calibration_text();
  std::size_t cut = text.size() > 2 * kHeldOutBytes ? text.size() - kHeldOutBytes : text.size() / 2;
  cut = std::min(text.find("\n\n", cut), text.size() - 2) + 2;  // between two passages
  return {std::string(text.substr(0, cut)), std::string(text.substr(cut))};
}

double decode_speed(const Engine& engine) {
  const SpeedTest test[] = {{.tokens = 64, .decode = true}};
  return quantile(measure_speed(engine, test, 3, false).results.front().rates, 0.5);
}

Table overview_table(const std::vector<OverviewRow>& rows) {
  Table table({"model", "bytes", "bits/weight", "perplexity", "nll difference", "mean KL", "top-1",
               "decode tokens/s"});
  for (const OverviewRow& row : rows) {
    const DivergenceResult& loss = row.loss ? *row.loss : rows.back().loss.value();
    table.add({row.name, format_bytes(row.bytes), fmt::format("{:.2f}", row.bits),
               fmt::format("{:.4f}", (row.loss ? loss.model : loss.reference).perplexity),
               row.loss ? fmt::format("{:+.5f}", loss.nll_difference) : "-",
               row.loss ? fmt::format("{:.6f}", loss.kl_mean) : "-",
               row.loss ? fmt::format("{:.2f}%", 100 * loss.top1_agreement) : "-",
               format_rate(row.decode)});
  }
  return table;
}

Json to_json(const OverviewRow& row) {
  Json json = {{"model", row.name},
               {"bytes", row.bytes},
               {"bits_per_weight", row.bits},
               {"decode_tokens_per_second", row.decode}};
  if (row.loss) json["loss"] = to_json(*row.loss);
  return json;
}

}  // namespace krait
