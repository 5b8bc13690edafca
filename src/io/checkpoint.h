// A Hugging Face checkpoint directory: which files hold the tensors, config.json, the rest.
#pragma once

#include <memory>
#include <string>

#include "io/json.h"
#include "io/tensor_source.h"

namespace krait {

struct Checkpoint {
  std::string directory;
  Json config;             ///< config.json
  Json generation_config;  ///< generation_config.json, or null
  std::shared_ptr<const TensorSource> tensors;
};

/// Opens model.safetensors, model.safetensors.index.json and its shards, pytorch_model.bin, or
/// pytorch_model.bin.index.json, in that order of preference. Shards named in an index must lie in
/// the directory (no "/" or ".." in a name), hold what the index says, and not repeat a tensor.
Checkpoint open_checkpoint(const std::string& directory);

/// "sha256:<hex>" over the names and contents of the checkpoint's tensor files and config.json.
std::string checkpoint_hash(const std::string& directory);
std::string sha256_hex(std::string_view data);

}  // namespace krait
