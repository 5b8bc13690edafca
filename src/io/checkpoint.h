// A Hugging Face checkpoint directory: which files hold the tensors, config.json, the rest.
#pragma once

#include <memory>
#include <string>

#include "io/json.h"
#include "io/sha256.h"
#include "io/tensor_source.h"

namespace krait {

struct Checkpoint {
  std::string directory;
  Json config;             ///< config.json, or params.json
  Json generation_config;  ///< generation_config.json, or null
  std::shared_ptr<const TensorSource> tensors;
};

/// Errors: not_found for a missing directory, config.json, tensor file or shard, with what was
/// looked for; bad_data for a broken one.
/// Opens model.safetensors, model.safetensors.index.json and its shards, pytorch_model.bin,
/// pytorch_model.bin.index.json, or Mistral's consolidated.safetensors, in that order of
/// preference; params.json stands in for config.json. Shards named in an index must lie in the
/// directory (no "/" or ".." in a name), hold what the index says, and not repeat a tensor.
Checkpoint open_checkpoint(const std::string& directory);

/// "sha256:<hex>" over config.json, the index and the tensor files
/// that open_checkpoint() would read: the digest of the lines "<digest of the file> <name>\n"
/// sorted by name, as sha256sum prints them but with one space. Reads the files as streams.
std::string checkpoint_hash(const std::string& directory);

}  // namespace krait
