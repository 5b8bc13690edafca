// Small checkpoints on disk, for the tests of quantize().
#pragma once

#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"
#include "io/test_support.h"
#include "krait/quantize.h"
#include "models/test_support.h"
#include "quant/recipe.h"

namespace krait {

inline void write_checkpoint(const TestCheckpoint& checkpoint, const std::string& directory) {
  std::filesystem::create_directories(directory);
  write_file_atomic(directory + "/config.json", checkpoint.config.dump());
  const auto sink = make_safetensors_sink(directory + "/model.safetensors", {});
  for (const auto& [name, tensor] : checkpoint.tensors) {
    sink->declare({name, tensor.dtype(), tensor.shape()});
  }
  for (const auto& [name, tensor] : checkpoint.tensors) sink->write(name, tensor.view());
  sink->finish();
}

/// A shipped recipe as a checkpoint of that layout keeps it: by role, with steps.
inline Json by_role(const std::string& recipe, const ModelLayout& layout) {
  return fit_recipe(load_recipe(recipe), layout).source;
}

/// Random ids below `vocab` as a .bin file of uint16.
inline void write_token_file(const std::string& path, std::int64_t count, std::int64_t vocab) {
  std::string bytes;
  for (std::int32_t id : random_ids(99, count, vocab)) {
    bytes += static_cast<char>(id & 255);
    bytes += static_cast<char>(id >> 8);
  }
  write_file_atomic(path, bytes);
}

/// The same function, but that the norms of layers blow one channel up and the weights that read
/// them take it back: what smoothing and outlier splitting are for.
inline TestCheckpoint with_outlier_channel(TestCheckpoint checkpoint, float factor) {
  for (auto& [name, tensor] : checkpoint.tensors) {
    const bool is_norm = name.find(".layers.") != std::string::npos &&
                         name.find("norm") != std::string::npos &&
                         name.find("mixer.norm") == std::string::npos;
    const bool reads = name.ends_with("in_proj.weight") ||
                       name.ends_with("query_key_value.weight") ||
                       name.ends_with("dense_h_to_4h.weight");
    if (!is_norm && !reads) continue;
    tensor = to_f32(tensor.view());
    const std::int64_t cols = tensor.shape()[tensor.shape().rank() - 1];
    for (std::int64_t i = 3; i < tensor.elements(); i += cols) {
      tensor.mutable_as<float>()[static_cast<std::size_t>(i)] *= is_norm ? factor : 1 / factor;
    }
  }
  return checkpoint;
}

/// A float checkpoint DIR/model and calibration tokens DIR/tokens.bin in a temporary directory.
/// Sizes for which all rotations and groups of the shipped recipes exist: d_inner = 40 = 20 * 2,
/// and d_model is a multiple of 8.
struct QuantizeFixture {
  explicit QuantizeFixture(TinyMamba shape = {.D = 24, .E = 40})
      : QuantizeFixture(tiny_mamba(shape)) {}
  explicit QuantizeFixture(TestCheckpoint original) : checkpoint(std::move(original)) {
    write_checkpoint(checkpoint, directory / "model");
    write_token_file(directory / "tokens.bin", 400, checkpoint.config.at("vocab_size"));
  }
  QuantizeOptions options(const std::string& recipe) const {
    QuantizeOptions result;
    result.recipe = recipe;
    result.calibration = directory / "tokens.bin";
    result.samples = 5;
    result.seq_len = 33;
    result.threads = 2;
    return result;
  }
  /// Quantizes into DIR/`name` and returns that path.
  std::string run(const std::string& recipe, const std::string& name) const {
    quantize(directory / "model", directory / name, options(recipe));
    return directory / name;
  }

  TemporaryDirectory directory;
  TestCheckpoint checkpoint;
};

}  // namespace krait
