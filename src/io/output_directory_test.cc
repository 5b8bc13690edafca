#include "io/output_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "io/file.h"
#include "io/test_support.h"

namespace krait {
namespace {

class OutputDirectoryTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  std::string out_ = directory_ / "out";
};

TEST_F(OutputDirectoryTest, AppearsWholeOnCommit) {
  OutputDirectory output(out_ + "/", false);
  EXPECT_EQ(output.final_path(), out_);
  write_file_atomic(output.path("a"), "1");
  std::filesystem::create_directory(output.path("sub"));
  write_file_atomic(output.path("sub/b"), "2");
  EXPECT_FALSE(std::filesystem::exists(out_));
  output.commit();
  EXPECT_EQ(read_file(out_ + "/a"), "1");
  EXPECT_EQ(read_file(out_ + "/sub/b"), "2");
  EXPECT_EQ(directory_.entries(), 1u);
  expect_error([&] { output.commit(); }, ErrorCode::io_error, {"committed twice"});
}

TEST_F(OutputDirectoryTest, LeavesNothingWithoutCommit) {
  {
    OutputDirectory output(out_, false);
    write_file_atomic(output.path("a"), "1");
  }
  EXPECT_EQ(directory_.entries(), 0u);
}

TEST_F(OutputDirectoryTest, RefusesWhatExists) {
  std::filesystem::create_directory(out_);
  expect_error([&] { OutputDirectory(out_, false); }, ErrorCode::io_error,
               {out_ + " exists already"});
  EXPECT_EQ(directory_.entries(), 1u);
  write_file_atomic(directory_ / "file", "");
  expect_error([&] { OutputDirectory(directory_ / "file", true); }, ErrorCode::io_error,
               {"not a directory"});
  {
    OutputDirectory output(directory_ / "late", false);
    std::filesystem::create_directory(directory_ / "late");
    expect_error([&] { output.commit(); }, ErrorCode::io_error, {"late exists already"});
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "late.partial"));
}

TEST_F(OutputDirectoryTest, OverwritesAtCommitAndNotBefore) {
  for (const std::string content : {"old", "new"}) {
    OutputDirectory output(out_, true);
    write_file_atomic(output.path("config.json"), "{}");
    write_file_atomic(output.path(content), content);
    if (content == "new") {
      EXPECT_EQ(read_file(out_ + "/old"), "old");
    }
    output.commit();
  }
  EXPECT_EQ(read_file(out_ + "/new"), "new");
  EXPECT_FALSE(std::filesystem::exists(out_ + "/old"));
  EXPECT_EQ(directory_.entries(), 1u);
  std::filesystem::remove(out_ + "/config.json");
  expect_error([&] { OutputDirectory(out_, true); }, ErrorCode::io_error, {"no config.json"});
}

TEST_F(OutputDirectoryTest, ClearsWhatAKilledRunLeft) {
  std::filesystem::create_directory(out_ + ".partial");
  write_file_atomic(out_ + ".partial/stale", "x");
  write_file_atomic(out_ + ".lock", "");
  OutputDirectory output(out_, false);
  output.commit();
  EXPECT_FALSE(std::filesystem::exists(out_ + "/stale"));
  EXPECT_EQ(directory_.entries(), 1u);
}

TEST_F(OutputDirectoryTest, TwoWritersDoNotCollide) {
  std::optional<OutputDirectory> first(std::in_place, out_, false);
  write_file_atomic(first->path("a"), "1");
  expect_error([&] { OutputDirectory(out_, false); }, ErrorCode::io_error,
               {"another process is writing " + out_});
  EXPECT_EQ(read_file(first->path("a")), "1");
  first.reset();
  OutputDirectory second(out_, false);
  second.commit();
  EXPECT_TRUE(std::filesystem::exists(out_));
}

TEST_F(OutputDirectoryTest, CreatesParents) {
  OutputDirectory output(directory_ / "deep/er/out", false);
  output.commit();
  EXPECT_TRUE(std::filesystem::is_directory(directory_ / "deep/er/out"));
  write_file_atomic(directory_ / "file", "");
  expect_error([&] { OutputDirectory(directory_ / "file/out", false); }, ErrorCode::io_error,
               {"file"});
}

TEST_F(OutputDirectoryTest, FilesAreReplacedAtomically) {
  write_file_atomic(directory_ / "x", "first");
  write_file_atomic(directory_ / "x", "second");
  EXPECT_EQ(read_file(directory_ / "x"), "second");
  EXPECT_EQ(directory_.entries(), 1u);
  expect_error([&] { write_file_atomic(directory_ / "no/x", ""); }, ErrorCode::io_error,
               {"cannot create", directory_ / "no/x"});
  expect_error([&] { write_file_atomic(directory_.path(), ""); }, ErrorCode::io_error,
               {"cannot rename"});
  expect_error([&] { read_file(directory_ / "none"); }, ErrorCode::not_found, {"none"});
  expect_error([&] { read_file(directory_.path()); }, ErrorCode::io_error, {"cannot read"});
}

}  // namespace
}  // namespace krait
