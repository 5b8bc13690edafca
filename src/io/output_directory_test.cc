#include "io/output_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "io/file.h"
#include "io/test_support.h"

namespace krait {
namespace {

/// A writer of config.json, a and b, that knows its own by the first.
const OutputKind kKind{
    "the test",
    [](std::string_view name) { return name == "config.json" || name == "a" || name == "b"; },
    [](const std::string& directory) {
      return std::filesystem::exists(directory + "/config.json");
    }};

class OutputDirectoryTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  std::string out_ = directory_ / "out";
};

TEST_F(OutputDirectoryTest, AppearsWholeOnCommit) {
  OutputDirectory output(out_ + "/", kKind, false);
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
    OutputDirectory output(out_, kKind, false);
    write_file_atomic(output.path("a"), "1");
  }
  EXPECT_EQ(directory_.entries(), 0u);
}

TEST_F(OutputDirectoryTest, RefusesWhatExists) {
  std::filesystem::create_directory(out_);
  expect_error([&] { OutputDirectory(out_, kKind, false); }, ErrorCode::io_error,
               {out_ + " exists already"});
  EXPECT_EQ(directory_.entries(), 1u);
  write_file_atomic(directory_ / "file", "");
  expect_error([&] { OutputDirectory(directory_ / "file", kKind, true); }, ErrorCode::io_error,
               {"not a directory"});
  {
    OutputDirectory output(directory_ / "late", kKind, false);
    std::filesystem::create_directory(directory_ / "late");
    expect_error([&] { output.commit(); }, ErrorCode::io_error, {"late exists already"});
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "late.partial"));
}

TEST_F(OutputDirectoryTest, OverwritesAtCommitAndNotBefore) {
  for (const std::string content : {"a", "b"}) {
    OutputDirectory output(out_, kKind, true);
    write_file_atomic(output.path("config.json"), "{}");
    write_file_atomic(output.path(content), content);
    if (content == "b") {
      EXPECT_EQ(read_file(out_ + "/a"), "a");
    }
    output.commit();
  }
  EXPECT_EQ(read_file(out_ + "/b"), "b");
  EXPECT_FALSE(std::filesystem::exists(out_ + "/a"));
  EXPECT_EQ(directory_.entries(), 1u);
}

TEST_F(OutputDirectoryTest, ReplacesNothingButItsOwn) {
  const auto refuse = [&](std::initializer_list<std::string> parts) {
    expect_error([&] { OutputDirectory(out_, kKind, true); }, ErrorCode::io_error, parts);
    EXPECT_EQ(directory_.entries(), 1u);  // nothing beside it
  };
  std::filesystem::create_directory(out_);
  OutputDirectory(out_, kKind, true).commit();  // an empty one is nobody's
  write_file_atomic(out_ + "/a", "1");
  refuse({out_, "was not written by the test"});
  write_file_atomic(out_ + "/config.json", "{}");
  write_file_atomic(out_ + "/notes", "2");
  refuse({out_ + " holds notes", "the test does not write"});
  std::filesystem::remove(out_ + "/notes");
  std::filesystem::create_directory(out_ + "/b");
  refuse({"holds b"});
  std::filesystem::remove(out_ + "/b");
  std::filesystem::create_symlink("a", out_ + "/b");
  refuse({"holds b"});
  std::filesystem::remove(out_ + "/b");
  EXPECT_EQ(read_file(out_ + "/a"), "1");
  {
    OutputDirectory output(out_, kKind, true);
    write_file_atomic(out_ + "/late", "3");
    expect_error([&] { output.commit(); }, ErrorCode::io_error, {"holds late"});
  }
  EXPECT_EQ(read_file(out_ + "/late"), "3");
  OutputDirectory(out_ + "2", kKind, true).commit();
  std::filesystem::create_directory_symlink(out_ + "2", out_ + "3");
  expect_error([&] { OutputDirectory(out_ + "3", kKind, true); }, ErrorCode::io_error,
               {"not a directory"});
}

TEST_F(OutputDirectoryTest, ClearsWhatAKilledRunLeft) {
  std::filesystem::create_directory(out_ + ".partial");
  write_file_atomic(out_ + ".partial/a", "x");
  write_file_atomic(out_ + ".partial/b.123-4.tmp", "x");
  write_file_atomic(out_ + ".lock", "");
  OutputDirectory output(out_, kKind, false);
  output.commit();
  EXPECT_FALSE(std::filesystem::exists(out_ + "/a"));
  EXPECT_EQ(directory_.entries(), 1u);
}

TEST_F(OutputDirectoryTest, WhatOnlyLooksLikeTheLeftOversOfAKilledRunStays) {
  write_file_atomic(out_ + ".lock", "of another program");
  expect_error([&] { OutputDirectory(out_, kKind, false); }, ErrorCode::io_error,
               {out_ + ".lock", "in the way"});
  EXPECT_EQ(read_file(out_ + ".lock"), "of another program");
  std::filesystem::remove(out_ + ".lock");
  std::filesystem::create_directory(out_ + ".partial");
  write_file_atomic(out_ + ".partial/thesis.txt", "x");
  expect_error([&] { OutputDirectory(out_, kKind, false); }, ErrorCode::io_error,
               {out_ + ".partial", "thesis.txt"});
  EXPECT_EQ(read_file(out_ + ".partial/thesis.txt"), "x");
  EXPECT_EQ(directory_.entries(), 1u);
}

TEST_F(OutputDirectoryTest, TwoWritersDoNotCollide) {
  std::optional<OutputDirectory> first(std::in_place, out_, kKind, false);
  write_file_atomic(first->path("a"), "1");
  expect_error([&] { OutputDirectory(out_, kKind, false); }, ErrorCode::io_error,
               {"another process is writing " + out_});
  EXPECT_EQ(read_file(first->path("a")), "1");
  first.reset();
  OutputDirectory second(out_, kKind, false);
  second.commit();
  EXPECT_TRUE(std::filesystem::exists(out_));
}

TEST_F(OutputDirectoryTest, CreatesParents) {
  OutputDirectory output(directory_ / "deep/er/out", kKind, false);
  output.commit();
  EXPECT_TRUE(std::filesystem::is_directory(directory_ / "deep/er/out"));
  write_file_atomic(directory_ / "file", "");
  expect_error([&] { OutputDirectory(directory_ / "file/out", kKind, false); }, ErrorCode::io_error,
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
