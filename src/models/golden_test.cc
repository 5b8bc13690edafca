// Logits of others on the small checkpoints of tests/golden, see its README.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "core/check.h"
#include "io/checkpoint.h"
#include "models/test_support.h"

namespace krait {
namespace {

/// The values of a two-dimensional, row-major float32 .npy file, version 1.
std::vector<float> read_npy(const std::string& path, std::int64_t rows, std::int64_t cols) {
  const std::string bytes = read_file(path);
  check(bytes.starts_with("\x93NUMPY\x01") && bytes.size() > 10, ErrorCode::bad_data,
        "{} is not a .npy file", path);
  std::uint16_t header_length;
  std::memcpy(&header_length, bytes.data() + 8, sizeof header_length);
  const std::string header = bytes.substr(10, header_length);
  const std::string shape = fmt::format("'shape': ({}, {})", rows, cols);
  check(header.find("'<f4'") != std::string::npos &&
            header.find("'fortran_order': False") != std::string::npos &&
            header.find(shape) != std::string::npos,
        ErrorCode::bad_data, "{}: expected '<f4', {}, got {}", path, shape, header);
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  const std::string_view data = std::string_view(bytes).substr(10u + header_length);
  check(data.size() == values.size() * sizeof(float), ErrorCode::bad_data, "{} is truncated", path);
  std::memcpy(values.data(), data.data(), data.size());
  return values;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, LogitsAgree) {
  const std::string directory = std::string(KRAIT_SOURCE_DIR "/tests/golden/") + GetParam();
  const Checkpoint checkpoint = open_checkpoint(directory);
  const auto ids = read_json_file(directory + "/ids.json").get<std::vector<std::int32_t>>();
  TestRuntime runtime(select_isa(), 2);
  const auto model = load_model(runtime.ctx, checkpoint.config, *checkpoint.tensors);
  const std::vector<float> expected = read_npy(
      directory + "/logits.npy", static_cast<std::int64_t>(ids.size()), model->info().vocab_rows);
  SequenceState state(model->state_layout());
  const std::vector<float> logits = all_logits(runtime.ctx, *model, ids, state);
  double sum = 0, squares = 0, difference = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    sum += expected[i];
    squares += std::pow(expected[i], 2);
    difference = std::max(difference, std::abs(static_cast<double>(logits[i]) - expected[i]));
  }
  const auto n = static_cast<double>(expected.size());
  const double deviation = std::sqrt(squares / n - std::pow(sum / n, 2));
  EXPECT_LE(difference, 1e-4 * deviation);
  RecordProperty("difference_over_deviation", fmt::format("{:.2e}", difference / deviation));
}

TEST(GoldenOriginal, HidesPaddingAndSharesTheHead) {
  const Checkpoint checkpoint = open_checkpoint(KRAIT_SOURCE_DIR "/tests/golden/mamba-original");
  const ModelLayout layout = describe_model(checkpoint.config, *checkpoint.tensors);
  EXPECT_EQ(layout.info.vocab_size, 83);
  EXPECT_EQ(layout.info.vocab_rows, 88);
  EXPECT_EQ(layout.linears.back().tied_to, "backbone.embedding");
}

/// Every directory of tests/golden with logits.
std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(KRAIT_SOURCE_DIR "/tests/golden")) {
    if (std::filesystem::exists(entry.path() / "logits.npy")) {
      names.push_back(entry.path().filename());
    }
  }
  std::ranges::sort(names);
  return names;
}

TEST(GoldenNames, AreThere) { EXPECT_GE(golden_names().size(), 16u); }

INSTANTIATE_TEST_SUITE_P(Checkpoints, Golden, testing::ValuesIn(golden_names()),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace krait
