// The bits of whole models: digests of logits in tests/golden/logits.json, the same on every
// architecture, instruction set and number of threads. What changes the numerics of an operation
// changes the file: the test says what it got.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ostream>
#include <span>
#include <vector>

#include "io/checkpoint.h"
#include "io/file.h"
#include "io/json.h"
#include "io/sha256.h"
#include "krait/quantize.h"
#include "models/test_support.h"
#include "quant/quantize_to_memory.h"
#include "quant/test_support.h"

namespace krait {
namespace {

constexpr std::int64_t kTokens = 24;

struct Case {
  std::string model;   ///< below models/
  std::string recipe;  ///< without calibration: static scales are made up
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.model << ' ' << c.recipe; }

const std::vector<Case> kCases = {
    {"krait-demo", "krait-w8a8"},       {"krait-demo", "quamba-w8a8"},
    {"krait-demo", "krait-w4a8-h8"},    {"krait-demo", "krait-w2a8"},
    {"krait-demo", "krait-ternary"},    {"krait-demo", "krait-w4a16"},
    {"krait-demo", "krait-w8a16"},      {"krait-demo", "bf16"},
    {"krait-mamba2", "krait-w8a8"},     {"krait-mamba2", "krait-w8a8-s8"},
    {"krait-mamba2", "quamba2-w4a8"},   {"krait-mamba2", "krait-w3a8"},
    {"krait-pythia", "krait-w8a8-kv8"}, {"krait-pythia", "krait-w4a8-h8"},
    {"krait-pythia", "krait-w4a8"},     {"krait-pythia", "rtn-w3a8"},
    {"krait-jamba", "krait-w8a8"},      {"krait-jamba", "jamba-llmint8-quamba"},
};

std::string path_of(const std::string& model) { return KRAIT_SOURCE_DIR "/models/" + model; }
const Json& golden() {
  static const Json file = read_json_file(KRAIT_SOURCE_DIR "/tests/golden/logits.json");
  return file;
}

std::string digest(const Json& config, const TensorSource& tensors, Isa isa, int threads) {
  TestRuntime runtime(isa, threads);
  const auto model = load_model(runtime.ctx, config, tensors);
  const auto ids = random_ids(17, kTokens, model->info().vocab_size);
  SequenceState state(model->state_layout());
  // A prompt and then tokens one by one: products of many tokens and of one.
  const auto prompt = std::span(ids).first(kTokens - 4);
  std::vector<float> logits = all_logits(runtime.ctx, *model, prompt, state);
  for (std::size_t t = prompt.size(); t < ids.size(); ++t) {
    const auto row = all_logits(runtime.ctx, *model, std::span(ids).subspan(t, 1), state);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  EXPECT_TRUE(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }));
  return sha256_hex({reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float)});
}

/// On the level that KRAIT_ISA names, or on all of this CPU.
void expect_everywhere(const Json& config, const TensorSource& tensors,
                       const std::string& expected) {
  for (const Isa isa : all_isas()) {
    if (!cpu_supports(isa) || (std::getenv("KRAIT_ISA") && isa != select_isa())) continue;
    EXPECT_EQ(digest(config, tensors, isa, 2), expected) << name_of(isa);
  }
}

class Logits : public testing::TestWithParam<Case> {};

TEST_P(Logits, HaveTheBitsOfEveryArchitecture) {
  const Checkpoint checkpoint = open_checkpoint(path_of(GetParam().model));
  ThreadPool threads(2);
  const QuantizedModel made = quantize_to_memory(checkpoint.config, *checkpoint.tensors,
                                                 load_recipe(GetParam().recipe), threads);
  expect_everywhere(made.config, *made.tensors, golden()[GetParam().model][GetParam().recipe]);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Logits, testing::ValuesIn(kCases), [](const auto& test) {
  std::string name = test.param.model + "_" + test.param.recipe;
  std::ranges::replace(name, '-', '_');
  return name;
});

// Calibration runs the float model: its scales are the same bits too.
TEST(CalibratedLogits, HaveTheBitsOfEveryArchitecture) {
  const TemporaryDirectory directory;
  write_token_file(directory / "tokens.bin", 4 * 48, 4096);
  QuantizeOptions options;
  options.recipe = "quamba-w8a8";
  options.calibration = directory / "tokens.bin";
  options.samples = 4;
  options.seq_len = 48;
  options.threads = 2;
  quantize(path_of("krait-demo"), directory / "out", options);
  const Checkpoint checkpoint = open_checkpoint(directory / "out");
  expect_everywhere(checkpoint.config, *checkpoint.tensors,
                    golden()["krait-demo"]["quamba-w8a8 calibrated"]);
}

TEST(LogitsFile, HoldsWhatIsTested) {
  std::size_t digests = 0;
  for (const auto& [model, recipes] : golden().items()) digests += recipes.size();
  EXPECT_EQ(digests, kCases.size() + 1);
}

}  // namespace
}  // namespace krait
