#include "quant/quantized_directory.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "quant/test_support.h"

namespace krait {
namespace {

namespace fs = std::filesystem;

class QuantizedDirectoryTest : public testing::Test {
 protected:
  /// Neither the check nor quantize() touches the output.
  void refuse(const std::string& source, const std::string& output, ErrorCode code,
              std::initializer_list<std::string> parts) {
    expect_error([&] { check_output(source, output, true); }, code, parts);
    QuantizeOptions options = fixture_.options("krait-w8a8");
    options.overwrite = true;
    expect_error([&] { quantize(source, output, options); }, code, parts);
  }
  void allow(const std::string& source, const std::string& output) {
    EXPECT_NO_THROW(check_output(source, output, true));
  }

  QuantizeFixture fixture_;
  std::string model_ = fixture_.directory / "model";
};

TEST_F(QuantizedDirectoryTest, OwnOutputsMayBeReplacedIfThatIsAsked) {
  for (const char* recipe : {"krait-w8a8", "f16"}) {
    const std::string out = fixture_.run(recipe, recipe);
    allow(model_, out);
    allow(model_, out + "/");
    expect_error([&] { check_output(model_, out, false); }, ErrorCode::io_error,
                 {out + " exists already"});
  }
  fs::create_directory(fixture_.directory / "empty");
  allow(model_, fixture_.directory / "empty");
  allow(model_, fixture_.directory / "new/er");
}

TEST_F(QuantizedDirectoryTest, FilesOfOthersAreNotReplaced) {
  const std::string project = fixture_.directory / "project";
  fs::create_directories(project + "/.git");
  write_file_atomic(project + "/config.json", R"({"name": "my project"})");
  refuse(model_, project, ErrorCode::io_error, {project, "holds .git"});
  fs::remove(project + "/.git");
  refuse(model_, project, ErrorCode::io_error, {project, "not written by krait quantize"});
  write_file_atomic(project + "/config.json", "no JSON");
  refuse(model_, project, ErrorCode::io_error, {project, "not written by krait quantize"});
  write_file_atomic(project + "/config.json", R"({"quantization_config": {"krait": 1}})");
  refuse(model_, project, ErrorCode::io_error, {project, "not written by krait quantize"});

  const std::string tuned = fixture_.directory / "tuned";
  fs::copy(model_, tuned, fs::copy_options::recursive);
  refuse(model_, tuned, ErrorCode::io_error, {tuned, "not written by krait quantize"});
  EXPECT_TRUE(fs::exists(tuned + "/model.safetensors"));

  const std::string out = fixture_.run("krait-w8a8", "out");
  write_file_atomic(out + "/notes.txt", "mine");
  refuse(model_, out, ErrorCode::io_error, {out, "holds notes.txt"});
  EXPECT_EQ(read_file(out + "/notes.txt"), "mine");
  expect_error([&] { remove_quantized(out); }, ErrorCode::io_error, {"holds notes.txt"});
  fs::remove(out + "/notes.txt");
  remove_quantized(out);
  EXPECT_FALSE(fs::exists(out));
  EXPECT_NO_THROW(remove_quantized(out));
}

TEST_F(QuantizedDirectoryTest, TheModelIsNeverReplacedWhereverItLies) {
  const std::string out = fixture_.run("krait-w8a8", "out");
  refuse(model_, model_ + "/", ErrorCode::invalid_argument, {"the model itself"});
  const std::string link = fixture_.directory / "link";
  fs::create_directory_symlink(model_, link);
  refuse(model_, link, ErrorCode::invalid_argument, {"the model itself"});
  refuse(link, model_, ErrorCode::invalid_argument, {"the model itself"});

  fs::create_directory(out + "/checkpoints");
  fs::copy(model_, out + "/checkpoints/best", fs::copy_options::recursive);
  refuse(out + "/checkpoints/best", out, ErrorCode::invalid_argument, {out + " holds the model"});
  fs::create_directory_symlink(out + "/checkpoints", fixture_.directory / "elsewhere");
  refuse(fixture_.directory / "elsewhere/best", out, ErrorCode::invalid_argument,
         {out + " holds the model"});
  EXPECT_TRUE(fs::exists(out + "/checkpoints/best/model.safetensors"));

  fs::copy(fixture_.run("krait-w8a8", "own"), model_ + "/own", fs::copy_options::recursive);
  refuse(model_, model_ + "/own", ErrorCode::invalid_argument, {"lies in the model"});
  allow(model_, model_ + "/new");  // nothing is replaced there
}

TEST_F(QuantizedDirectoryTest, WhatTheModelLinksToIsNotReplaced) {
  const std::string blobs = fixture_.run("f16", "blobs"), linked = fixture_.directory / "linked";
  fs::create_directory(linked);
  fs::copy(model_ + "/config.json", linked + "/config.json");
  fs::create_symlink(blobs + "/model.safetensors", linked + "/model.safetensors");
  refuse(linked, blobs, ErrorCode::invalid_argument,
         {blobs, "holds what", "linked/model.safetensors links to"});
  EXPECT_TRUE(fs::exists(blobs + "/model.safetensors"));
}

}  // namespace
}  // namespace krait
