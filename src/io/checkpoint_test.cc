#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "io/file.h"
#include "io/safetensors.h"
#include "io/test_support.h"

namespace krait {
namespace {

class CheckpointDirectory : public testing::Test {
 protected:
  CheckpointDirectory() {
    write("config.json", R"({"model_type": "mamba", "limit": [0.0, Infinity]})");
  }

  void write(const std::string& name, const std::string& content) {
    write_file_atomic(directory_ / name, content);
  }
  void write_tensors(const std::string& file, std::initializer_list<std::string> names) {
    auto sink = make_safetensors_sink(directory_ / file, {});
    for (const auto& name : names) sink->declare({name, DType::u8, {2}});
    for (const auto& name : names) {
      Tensor tensor(DType::u8, {2});
      tensor.mutable_as<char>()[0] = name[0];
      sink->write(name, tensor.view());
    }
    sink->finish();
  }
  void write_shards() {
    write_tensors("model-00001-of-00002.safetensors", {"a", "b"});
    write_tensors("model-00002-of-00002.safetensors", {"c"});
    write("model.safetensors.index.json",
          R"({"metadata": {"total_size": 6}, "weight_map": {"a": "model-00001-of-00002.safetensors",
              "b": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}})");
  }
  void expect_refused(ErrorCode code, std::initializer_list<std::string> parts) {
    expect_error([&] { open_checkpoint(directory_.path()); }, code, parts);
  }
  TemporaryDirectory directory_;
};

TEST_F(CheckpointDirectory, OpensASingleFile) {
  write_tensors("model.safetensors", {"a", "b"});
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_EQ(checkpoint.directory, directory_.path());
  EXPECT_EQ(checkpoint.config["limit"][1].get<double>(), INFINITY);
  EXPECT_TRUE(checkpoint.generation_config.is_null());
  EXPECT_EQ(checkpoint.tensors->get("b").as<char>()[0], 'b');
  EXPECT_EQ(checkpoint.tensors->list().size(), 2u);
}

TEST_F(CheckpointDirectory, OpensTheLayoutOfMistral) {
  write_tensors("consolidated.safetensors", {"a"});
  std::filesystem::remove(directory_ / "config.json");
  write("params.json", R"({"dim": 4096})");
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_EQ(checkpoint.config["dim"], 4096);
  EXPECT_TRUE(checkpoint.tensors->contains("a"));
  const std::string hash = checkpoint_hash(directory_.path());
  write("params.json", R"({"dim": 4097})");
  EXPECT_NE(checkpoint_hash(directory_.path()), hash);
}

TEST_F(CheckpointDirectory, OpensShards) {
  write_shards();
  write("generation_config.json", R"({"eos_token_id": 0})");
  const Checkpoint checkpoint = open_checkpoint(directory_.path());
  EXPECT_EQ(checkpoint.generation_config["eos_token_id"], 0);
  const auto infos = checkpoint.tensors->list();
  ASSERT_EQ(infos.size(), 3u);
  for (const TensorInfo& info : infos) {
    EXPECT_EQ(checkpoint.tensors->get(info.name).as<char>()[0], info.name[0]);
  }
  EXPECT_FALSE(checkpoint.tensors->contains("d"));
  expect_error([&] { checkpoint.tensors->get("d"); }, ErrorCode::not_found, {"tensor d", "index"});
}

TEST_F(CheckpointDirectory, OpensPickledTensorsAndPrefersSafetensors) {
  const std::string fixture = std::string(KRAIT_SOURCE_DIR) + "/tests/golden/pickle/good_model.bin";
  std::filesystem::copy_file(fixture, directory_ / "shard.bin");
  write("pytorch_model.bin.index.json", R"({"weight_map": {"w": "shard.bin"}})");
  EXPECT_TRUE(open_checkpoint(directory_.path()).tensors->contains("w"));
  std::filesystem::copy_file(fixture, directory_ / "pytorch_model.bin");
  const Checkpoint pickled = open_checkpoint(directory_.path());
  EXPECT_EQ(pickled.tensors->where(), directory_ / "pytorch_model.bin");
  write_shards();
  EXPECT_TRUE(open_checkpoint(directory_.path()).tensors->contains("c"));
  write_tensors("model.safetensors", {"z"});
  EXPECT_TRUE(open_checkpoint(directory_.path()).tensors->contains("z"));
}

TEST_F(CheckpointDirectory, MissingFilesAreNamed) {
  expect_refused(ErrorCode::not_found,
                 {directory_.path(), "model.safetensors", "pytorch_model.bin"});
  std::filesystem::remove(directory_ / "config.json");
  expect_refused(ErrorCode::not_found, {"config.json", directory_.path()});
  expect_error([&] { open_checkpoint(directory_ / "none"); }, ErrorCode::not_found,
               {"no checkpoint directory", directory_ / "none"});
}

TEST_F(CheckpointDirectory, ConfigWithASyntaxErrorIsLocated) {
  write_tensors("model.safetensors", {"a"});
  write("config.json", "{\n  \"model_type\": \"mamba\",\n  \"d_model\": 768,\n}\n");
  expect_refused(ErrorCode::bad_data, {directory_ / "config.json:4:1: invalid JSON"});
  write("config.json", "[]");
  expect_refused(ErrorCode::bad_data, {"config.json is not a JSON object"});
}

TEST_F(CheckpointDirectory, MissingShardIsNamed) {
  write_shards();
  std::filesystem::remove(directory_ / "model-00002-of-00002.safetensors");
  expect_refused(ErrorCode::not_found,
                 {"no shard", "model-00002-of-00002.safetensors", "index.json"});
}

TEST_F(CheckpointDirectory, ShardOutsideTheDirectoryIsRefused) {
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "sub/x", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    write("model.safetensors.index.json", R"({"weight_map": {"a": ")" + std::string(name) + "\"}}");
    expect_refused(ErrorCode::bad_data, {"tensor a", "the name of a file in the same directory"});
  }
}

TEST_F(CheckpointDirectory, IndexAndShardsMustAgree) {
  write_shards();
  write("model.safetensors.index.json",
        R"({"weight_map": {"a": "model-00001-of-00002.safetensors",
                           "d": "model-00001-of-00002.safetensors"}})");
  expect_refused(ErrorCode::bad_data,
                 {"tensor d", "model-00001-of-00002.safetensors", "not there"});
  write("model.safetensors.index.json",
        R"({"weight_map": {"a": "model-00002-of-00002.safetensors",
                           "c": "model-00001-of-00002.safetensors"}})");
  expect_refused(ErrorCode::bad_data, {"tensor a", "model-00002-of-00002.safetensors"});
  for (const char* text : {"{}", "[]", R"({"weight_map": []})", R"({"weight_map": {}})",
                           R"({"weight_map": {"a": 1}})"}) {
    write("model.safetensors.index.json", text);
    expect_refused(ErrorCode::bad_data, {"model.safetensors.index.json"});
  }
}

TEST_F(CheckpointDirectory, RepeatedTensorIsRefused) {
  write_shards();
  write_tensors("third.safetensors", {"a", "e"});
  write("model.safetensors.index.json",
        R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "e": "third.safetensors"}})");
  expect_refused(ErrorCode::bad_data, {"tensor a is both in", "third.safetensors"});
}

TEST_F(CheckpointDirectory, HashCoversNamesAndContents) {
  write_shards();
  const std::string before = checkpoint_hash(directory_.path());
  EXPECT_EQ(before.size(), 7u + 64u);
  EXPECT_TRUE(before.starts_with("sha256:"));
  write("tokenizer.json", "{}");
  EXPECT_EQ(checkpoint_hash(directory_.path()), before) << "only config, index and tensors count";
  std::filesystem::remove(directory_ / "model-00002-of-00002.safetensors");
  write_tensors("model-00002-of-00002.safetensors", {"d"});
  const std::string changed = checkpoint_hash(directory_.path());
  EXPECT_NE(changed, before);
  write("config.json", "{}");
  EXPECT_NE(checkpoint_hash(directory_.path()), changed);
}

}  // namespace
}  // namespace krait
