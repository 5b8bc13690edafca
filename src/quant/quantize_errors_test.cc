// What quantize() refuses, and that it leaves nothing behind where it fails.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "io/checkpoint.h"
#include "krait/quantize.h"
#include "quant/test_support.h"

namespace krait {
namespace {

const std::string kMixer = "backbone.layers.1.mixer.";

TEST(Quantize, RefusesWhatIsQuantizedAlready) {
  const QuantizeFixture fixture;
  fixture.run("krait-w8a8", "out");
  expect_error(
      [&] {
        quantize(fixture.directory / "out", fixture.directory / "again",
                 fixture.options("krait-w8a8"));
      },
      ErrorCode::invalid_argument, {"quantized already"});
  EXPECT_FALSE(std::filesystem::exists(fixture.directory / "again"));
}

TEST(Quantize, OverwritesItsOwnWhenAskedAndNeverTheModel) {
  const QuantizeFixture fixture;
  const std::string model = fixture.directory / "model", out = fixture.run("f16", "out");
  QuantizeOptions options = fixture.options("krait-w8a8");
  expect_error([&] { quantize(model, out, options); }, ErrorCode::io_error, {"out"});
  options.overwrite = true;
  quantize(model, out, options);
  EXPECT_TRUE(read_json_file(out + "/config.json").contains("quantization_config"));
  expect_error([&] { quantize(model, model, options); }, ErrorCode::invalid_argument,
               {"the model itself"});
  expect_error([&] { quantize(model, "", options); }, ErrorCode::invalid_argument, {"output"});
}

TEST(Quantize, LeavesNothingBehindWhenStopped) {
  const QuantizeFixture fixture;
  const std::size_t before = fixture.directory.entries();
  for (const char* phase : {"calibrate", "quantize"}) {
    for (std::int64_t stop : {0, 3}) {
      QuantizeOptions options = fixture.options("quamba-w8a8");
      bool stopped = false;
      options.progress = [&](const Progress& progress) {
        if (progress.phase != phase || progress.done != stop) return;
        stopped = true;
        throw std::runtime_error("stopped by the user");
      };
      EXPECT_THROW(quantize(fixture.directory / "model", fixture.directory / "out", options),
                   std::runtime_error);
      EXPECT_TRUE(stopped) << phase << stop;
      EXPECT_EQ(fixture.directory.entries(), before) << phase << stop;
    }
  }
}

TEST(Quantize, LeavesNothingBehindWhenCancelled) {
  const QuantizeFixture fixture;
  const std::size_t before = fixture.directory.entries();
  for (const char* phase : {"calibrate", "quantize"}) {
    QuantizeOptions options = fixture.options("quamba-w8a8");
    options.progress = [&](const Progress& progress) {
      if (progress.phase == phase) options.cancel.cancel();
    };
    expect_error([&] { quantize(fixture.directory / "model", fixture.directory / "out", options); },
                 ErrorCode::cancelled, {"model was cancelled"});
    EXPECT_EQ(fixture.directory.entries(), before) << phase;
  }
}

TEST(Quantize, AFullDiskIsOneErrorAndLeavesNothing) {
  const QuantizeFixture fixture({.V = 600, .E = 40});
  const std::size_t before = fixture.directory.entries();
  // A limit on the size of files is what a test can have; the system says "file too large" for it.
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{16384, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error(
      [&] {
        quantize(fixture.directory / "model", fixture.directory / "out",
                 fixture.options("krait-w8a8"));
      },
      ErrorCode::io_error, {"model.safetensors", "bytes"});
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(fixture.directory.entries(), before);
}

TEST(Quantize, NamesWhatIsWrongBeforeItWorks) {
  const QuantizeFixture fixture;
  const std::string model = fixture.directory / "model", out = fixture.directory / "out";
  const auto refuse = [&](const QuantizeOptions& options, ErrorCode code,
                          std::initializer_list<std::string> parts) {
    expect_error([&] { quantize(model, out, options); }, code, parts);
    EXPECT_FALSE(std::filesystem::exists(out));
  };
  refuse(fixture.options("quambaw8a8"), ErrorCode::not_found, {"did you mean \"quamba-w8a8\""});
  QuantizeOptions options = fixture.options("quamba-w8a8");
  options.calibration = "";  // text, but the checkpoint has no tokenizer
  refuse(options, ErrorCode::not_found, {"no tokenizer.json", ".npy"});
  options = fixture.options("quamba-w8a8");
  options.samples = 0;
  refuse(options, ErrorCode::invalid_argument, {"at least 1 sample"});
  options = fixture.options("quamba-w8a8");
  options.threads = -1;
  refuse(options, ErrorCode::invalid_argument, {"threads", "-1"});
  write_token_file(fixture.directory / "tokens.bin", 400, 300);
  refuse(fixture.options("quamba-w8a8"), ErrorCode::bad_data,
         {"tokens.bin", "outside the vocabulary"});
  expect_error([&] { quantize(fixture.directory / "absent", out, {}); }, ErrorCode::not_found,
               {"absent"});
}

TEST(Quantize, NamesTensorsWithNaN) {
  QuantizeFixture fixture;
  fixture.checkpoint.tensors.at(kMixer + "in_proj.weight").mutable_as<float>()[5] =
      std::numeric_limits<float>::quiet_NaN();
  std::filesystem::remove_all(fixture.directory / "model");
  write_checkpoint(fixture.checkpoint, fixture.directory / "model");
  for (const char* recipe : {"krait-w8a8", "quamba-w8a8", "f32"}) {
    expect_error([&] { fixture.run(recipe, "out"); }, ErrorCode::bad_data,
                 {kMixer + "in_proj.weight", "NaN"});
  }
}

}  // namespace
}  // namespace krait
