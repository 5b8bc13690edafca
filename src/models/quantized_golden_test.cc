// Checkpoints that version 0.1.0 quantized: a tiny one of each recipe, tests/golden/quantized. They
// are read with the logits that they had then, but for what no version reads any more.
#include <gtest/gtest.h>

#include <filesystem>

#include "io/checkpoint.h"
#include "io/sha256.h"
#include "io/test_support.h"
#include "models/test_support.h"

namespace krait {
namespace {

const std::string kFolder = KRAIT_SOURCE_DIR "/tests/golden/quantized/";

TEST(QuantizedGolden, HaveTheLogitsThatTheyHad) {
  const Json digests = read_json_file(kFolder + "logits.json");
  int folders = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (!entry.is_directory()) continue;
    ++folders;
    const std::string name = entry.path().filename().string();
    const Checkpoint checkpoint = open_checkpoint(entry.path().string());
    TestRuntime runtime(select_isa(), 2);
    if (name == "krait-ternary") {  // with A_log in 4 bits
      expect_error([&] { load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors); },
                   ErrorCode::bad_data, {"A_log_packed", "quantize the model again"});
      continue;
    }
    const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors);
    SequenceState state(model->state_layout());
    const auto ids = random_ids(17, 24, model->info().vocab_size);
    const std::vector<float> logits = all_logits(runtime.ctx, *model, ids, state);
    EXPECT_EQ(sha256_hex({reinterpret_cast<const char*>(logits.data()),
                          logits.size() * sizeof(float)}),
              digests.at(name))
        << name;
  }
  EXPECT_EQ(folders, 37);
  EXPECT_EQ(digests.size(), 37u);
}

}  // namespace
}  // namespace krait
