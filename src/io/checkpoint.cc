#include "io/checkpoint.h"

#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/printable.h"
#include "io/safetensors.h"
#include "io/torch_pickle.h"

namespace krait {
namespace {

struct Layout {
  std::string_view file;
  bool is_index;
  std::shared_ptr<TensorSource> (*open)(const std::string& path);
};
constexpr std::array<Layout, 5> kLayouts{{
    {"model.safetensors", false, open_safetensors},
    {"model.safetensors.index.json", true, open_safetensors},
    {"pytorch_model.bin", false, open_torch_pickle},
    {"pytorch_model.bin.index.json", true, open_torch_pickle},
    {"consolidated.safetensors", false, open_safetensors},
}};
// Mistral's layout calls it params.json.
constexpr std::array<std::string_view, 2> kConfigs{"config.json", "params.json"};

std::string join(const std::string& directory, std::string_view name) {
  return fmt::format("{}/{}", directory, name);
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string find_config(const std::string& directory) {
  std::error_code ignored;
  check(std::filesystem::is_directory(directory, ignored), ErrorCode::not_found,
        "there is no checkpoint directory {}", directory);
  for (std::string_view config : kConfigs) {
    if (exists(join(directory, config))) return std::string(config);
  }
  fail(ErrorCode::not_found, "there is no config.json in {}", directory);
}

const Layout& find_layout(const std::string& directory) {
  std::string wanted;
  for (const Layout& layout : kLayouts) {
    if (exists(join(directory, layout.file))) return layout;
    wanted += (wanted.empty() ? "" : ", ") + std::string(layout.file);
  }
  fail(ErrorCode::not_found, "there are no tensors in {}: looked for {}", directory, wanted);
}

/// The index's weight_map: tensor name to the name of a file in the directory.
std::map<std::string, std::string> read_index(const std::string& path) {
  const Json index = read_json_file(path);
  const bool has_map = index.is_object() && index.contains("weight_map") &&
                       index["weight_map"].is_object() && !index["weight_map"].empty();
  check(has_map, ErrorCode::bad_data, "{}: expected an object weight_map, got none", path);
  std::map<std::string, std::string> shards;
  for (const auto& [name, file] : index["weight_map"].items()) {
    check(file.is_string(), ErrorCode::bad_data, "{}: tensor {}: expected a file name, got {}",
          path, printable(name), file.type_name());
    const std::string& shard = file.get_ref<const std::string&>();
    const bool is_inside = !shard.empty() && shard != "." && shard != ".." &&
                           shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    check(is_inside, ErrorCode::bad_data,
          "{}: tensor {}: expected the name of a file in the same directory, got \"{}\"", path,
          printable(name), printable(shard));
    shards.emplace(name, shard);
  }
  return shards;
}

/// Several files that together hold one model.
class ShardedTensors final : public TensorSource {
 public:
  ShardedTensors(const std::string& directory, const Layout& layout)
      : where_(join(directory, layout.file)) {
    const auto index = read_index(where_);
    std::map<std::string, std::shared_ptr<const TensorSource>> shards;
    for (const auto& [name, file] : index) shards.emplace(file, nullptr);
    for (auto& [file, source] : shards) {
      const std::string path = join(directory, file);
      check(exists(path), ErrorCode::not_found, "there is no shard {}, which {} names", path,
            layout.file);
      source = layout.open(path);
      for (TensorInfo& info : source->list()) add(std::move(info), source);
    }
    for (const auto& [name, file] : index) {
      const auto found = tensors_.find(name);
      check(found != tensors_.end() && found->second.source == shards[file], ErrorCode::bad_data,
            "{}: tensor {} is expected in {} but is not there", where_, printable(name), file);
    }
  }

  std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    infos.reserve(tensors_.size());
    for (const auto& [name, shard] : tensors_) infos.push_back(shard.info);
    return infos;
  }
  bool contains(std::string_view name) const override { return tensors_.contains(name); }
  Tensor get(std::string_view name) const override {
    const auto found = tensors_.find(name);
    check(found != tensors_.end(), ErrorCode::not_found,
          "there is no tensor {} in the shards of {}", printable(name), where_);
    return found->second.source->get(name);
  }
  void release(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found != tensors_.end()) found->second.source->release(name);
  }
  std::string where() const override { return where_; }

 private:
  struct Shard {
    TensorInfo info;
    std::shared_ptr<const TensorSource> source;
  };

  void add(TensorInfo info, const std::shared_ptr<const TensorSource>& source) {
    std::string name = info.name;
    const auto [place, is_new] =
        tensors_.try_emplace(std::move(name), Shard{std::move(info), source});
    check(is_new, ErrorCode::bad_data, "tensor {} is both in {} and in {}", printable(place->first),
          place->second.source->where(), source->where());
  }

  std::string where_;
  std::map<std::string, Shard, std::less<>> tensors_;
};

}  // namespace

Checkpoint open_checkpoint(const std::string& directory) {
  const std::string config = find_config(directory);
  const Layout& layout = find_layout(directory);
  Checkpoint checkpoint;
  checkpoint.directory = directory;
  checkpoint.config = read_json_file(join(directory, config));
  check(checkpoint.config.is_object(), ErrorCode::bad_data, "{}/{} is not a JSON object", directory,
        config);
  const std::string generation = join(directory, "generation_config.json");
  if (exists(generation)) checkpoint.generation_config = read_json_file(generation);
  if (layout.is_index) {
    checkpoint.tensors = std::make_shared<ShardedTensors>(directory, layout);
  } else {
    checkpoint.tensors = layout.open(join(directory, layout.file));
  }
  return checkpoint;
}

std::string checkpoint_hash(const std::string& directory) {
  const std::string config = find_config(directory);
  const Layout& layout = find_layout(directory);
  std::set<std::string> files{config, std::string(layout.file)};
  if (layout.is_index) {
    for (const auto& [name, file] : read_index(join(directory, layout.file))) files.insert(file);
  }
  Sha256 hash;
  for (const std::string& file : files) {
    // A digest per file keeps the names, sizes and contents from running into each other.
    hash.update(fmt::format("{} {}\n", sha256_file_hex(join(directory, file)), file));
  }
  return "sha256:" + hash.hex();
}

}  // namespace krait
