#include "krait/quantize.h"

#include "capi/guard.h"
#include "capi/handles.h"

namespace krait::capi {
namespace {

krait_quantize_options default_options() {
  static const QuantizeOptions from;
  return {.size = sizeof(krait_quantize_options),
          .recipe = from.recipe.c_str(),
          .calibration = from.calibration.c_str(),
          .samples = from.samples,
          .seq_len = from.seq_len,
          .threads = from.threads,
          .overwrite = from.overwrite,
          .seed = from.seed,
          .progress = nullptr,
          .user = nullptr,
          .cancel = nullptr};
}

QuantizeOptions options_of(const krait_quantize_options* from) {
  const krait_quantize_options given_options =
      completed(from, default_options(), "krait_quantize_options");
  QuantizeOptions options{.recipe = &given(given_options.recipe, "recipe"),
                          .calibration = &given(given_options.calibration, "calibration"),
                          .samples = given_options.samples,
                          .seq_len = given_options.seq_len,
                          .seed = given_options.seed,
                          .threads = given_options.threads,
                          .overwrite = given_options.overwrite,
                          .progress = {}};
  if (given_options.progress) {
    options.progress = [tell = given_options.progress,
                        user = given_options.user](const Progress& progress) {
      const krait_progress view{.phase = progress.phase.c_str(),
                                .done = progress.done,
                                .total = progress.total,
                                .unit = progress.unit.c_str()};
      tell(user, &view);
    };
  }
  if (given_options.cancel) options.cancel = given_options.cancel->token;
  return options;
}

}  // namespace
}  // namespace krait::capi

using namespace krait::capi;

krait_status krait_quantize_options_init(krait_quantize_options* options, size_t size) {
  return guarded([&] { fill(options, size, default_options(), "krait_quantize_options"); });
}

krait_status krait_quantize(const char* model, const char* output,
                            const krait_quantize_options* options, krait_quantize_report* report) {
  return guarded([&] {
    if (report) check_size<krait_quantize_report>(report->size, "krait_quantize_report");
    const krait::QuantizeReport done =
        krait::quantize(&given(model, "model"), &given(output, "output"), options_of(options));
    if (!report) return;
    fill(report, report->size,
         {.size = 0,
          .source_bytes = done.source_bytes,
          .output_bytes = done.output_bytes,
          .bits_per_weight = done.bits_per_weight,
          .calibration_samples = done.calibration_samples,
          .calibration_tokens = done.calibration_tokens},
         "krait_quantize_report");
  });
}

const char* krait_recipe_name(size_t index) {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    guarded([&] { all = krait::recipe_names(); });
    return all;
  }();
  return index < names.size() ? names[index].c_str() : nullptr;
}
