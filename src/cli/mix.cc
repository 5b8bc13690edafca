// krait mix: how many bits each product gets, by what its rounding costs, under a budget.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "eval/own_text.h"
#include "io/file.h"
#include "quant/mixed_precision.h"
#include "report/table.h"

namespace krait::cli {
namespace {

struct Options {
  std::string model, output, recipe = "krait-w3a8";
  MixOptions mix;
  int samples = 16, seq_len = 512, threads = 0;
  std::uint64_t seed = 1234;
  bool json = false;
};

Json to_json(const MixedPrecision& mixed, const std::vector<int>& widths) {
  Json products = Json::array();
  for (const MixedProduct& product : mixed.products) {
    Json entry = {{"name", product.name}, {"bits", widths[product.chosen]}};
    for (std::size_t w = 0; w < widths.size(); ++w) {
      entry["widths"].push_back({{"bits", widths[w]},
                                 {"bytes", product.widths[w].bytes},
                                 {"kl", product.widths[w].loss}});
    }
    products.push_back(std::move(entry));
  }
  return {{"recipe", mixed.recipe.at("name")},
          {"bytes", mixed.bytes},
          {"bits_per_weight", mixed.bits_per_weight},
          {"kl_sum", mixed.loss},
          {"products", products}};
}

int run(const Options& options) {
  const std::vector<int>& widths = options.mix.widths;
  const std::string directory = resolve_model(options.model);
  catch_interrupts();
  const Checkpoint source = open_checkpoint(directory);
  const Recipe recipe =
      fit_recipe(load_recipe(options.recipe), describe_model(source.config, *source.tensors));
  OutputFile output(options.output);
  ProgressReport report;
  const auto update = [&](const Progress& progress) {
    throw_if_interrupted();
    report.update(progress);
  };
  ThreadPool threads(options.threads > 0 ? options.threads : hardware_threads());
  std::optional<OwnTextLoss> own_text;  // made once the recipe and the budget make sense
  const auto loss = [&](const QuantizedModel& model) {
    if (!own_text) {
      own_text.emplace(source, options.samples, options.seq_len, options.seed, options.threads,
                       update);
    }
    return (*own_text)(model);
  };
  const MixedPrecision mixed = mix_precision(source, recipe, options.mix, loss, threads, update);
  report.finish();
  const std::string text = format_json(mixed.recipe);
  output.write_at(0, text.data(), text.size());
  output.commit();
  if (options.json) {
    print_json(to_json(mixed, widths));
    return kSuccess;
  }
  Table table({"weights", "bits", "bytes", "mean KL alone"});
  for (const MixedProduct& product : mixed.products) {
    const Width& width = product.widths[product.chosen];
    table.add({product.name, std::to_string(widths[product.chosen]), fmt::format("{}", width.bytes),
               fmt::format("{:.6f}", width.loss)});
  }
  print("{}\n{:.3f} bits per weight; the sum of the divergences is {:.6f}\nwrote {}\n", table.str(),
        mixed.bits_per_weight, mixed.loss, options.output);
  return kSuccess;
}

}  // namespace

Runner declare_mix(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_argument(app, options->model);
  app.add_option("-o,--output", options->output, "Recipe to write")
      ->required()
      ->transform(output_path())
      ->type_name("FILE");
  app.add_option("--recipe", options->recipe,
                 "Recipe whose weights in groups get other bits, and which tells all else")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--bits", options->mix.bits, "Bits per weight at most, all weights counted")
      ->transform(number("from 0 to 64", [](double bits) { return bits >= 0 && bits <= 64; }))
      ->capture_default_str();
  add_list(app, "--widths", options->mix.widths, "Bits to choose from")
      ->transform(whole_number(2, 4))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--name", options->mix.name,
                 "Of the new recipe (default: the old one's and -mixed)")
      ->type_name("NAME");
  app.add_option("--samples", options->samples, "Texts that the model writes to measure on")
      ->capture_default_str()
      ->transform(whole_number(1));
  app.add_option("--seq-len", options->seq_len, "Tokens of each")
      ->capture_default_str()
      ->transform(whole_number(1));
  app.add_option("--seed", options->seed, "Of those texts")
      ->capture_default_str()
      ->transform(seed_number());
  add_threads_option(app, options->threads);
  add_json_option(app, options->json);
  return [options] { return run(*options); };
}

}  // namespace krait::cli
