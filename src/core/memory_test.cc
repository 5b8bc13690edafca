#include "core/memory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "krait/error.h"

namespace krait {
namespace {

class MappedFiles : public testing::Test {
 protected:
  MappedFiles() {
    std::string pattern = (std::filesystem::temp_directory_path() / "krait-").string();
    pattern.append(6, 'X');  // what mkdtemp replaces
    directory_ = ::mkdtemp(pattern.data());
  }
  ~MappedFiles() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& content) {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << content;
    return directory_ + "/" + name;
  }
  static ErrorCode code_of(const std::string& path) {
    try {
      MappedFile::open(path);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
      return error.code();
    }
    ADD_FAILURE() << path << " was mapped";
    return ErrorCode::invalid_argument;
  }
  std::string directory_;
};

TEST_F(MappedFiles, HoldTheContent) {
  const auto file = MappedFile::open(write("x", "hello"));
  ASSERT_EQ(file->size(), 5u);
  EXPECT_EQ(std::memcmp(file->data(), "hello", 5), 0);
  EXPECT_EQ(file->path(), directory_ + "/x");
}

TEST_F(MappedFiles, EmptyFileMapsToNothing) {
  EXPECT_EQ(MappedFile::open(write("empty", ""))->size(), 0u);
}

TEST_F(MappedFiles, ErrorsNameThePath) {
  EXPECT_EQ(code_of(directory_ + "/none"), ErrorCode::not_found);
  EXPECT_EQ(code_of(directory_), ErrorCode::io_error);
  EXPECT_EQ(code_of(write("x", "") + "/y"), ErrorCode::io_error);
  const std::string pipe = directory_ + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(code_of(pipe), ErrorCode::io_error);  // and does not wait for a writer
}

TEST_F(MappedFiles, AdviceKeepsFilesReadableAndOtherMemoryUntouched) {
  const std::string content(1 << 20, 'x');
  const auto file = MappedFile::open(write("x", content));
  advise_not_needed(file->data(), file->size());
  EXPECT_EQ(std::memcmp(file->data(), content.data(), content.size()), 0);
  const auto heap = allocate_aligned(content.size());
  std::memcpy(heap.get(), content.data(), content.size());
  advise_not_needed(heap.get(), content.size());
  EXPECT_EQ(std::memcmp(heap.get(), content.data(), content.size()), 0);
  advise_not_needed(nullptr, 0);
}

TEST(Allocation, IsAlignedAndZeroed) {
  for (const std::size_t bytes : {0, 1, 63, 64, 65, 100000}) {
    const auto memory = allocate_aligned(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 64, 0u);
    for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(static_cast<char*>(memory.get())[i], 0);
  }
}

TEST(Allocation, ImpossibleSizesAreErrors) {
  for (const std::size_t bytes :
       {std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max() - 64}) {
    EXPECT_THROW(allocate_aligned(bytes), Error);
  }
  Arena arena;
  EXPECT_THROW(arena.take<float>(-1), Error);
}

TEST(Memory, LargeAllocationsAreZeroedAndAligned) {
  for (const std::size_t bytes : {std::size_t{1}, (std::size_t{4} << 20) - 64, std::size_t{4} << 20,
                                  (std::size_t{9} << 20) + 3}) {
    const std::shared_ptr<void> memory = allocate_aligned(bytes);
    auto* first = static_cast<unsigned char*>(memory.get());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u) << bytes;
    EXPECT_TRUE(std::all_of(first, first + bytes, [](unsigned char b) { return b == 0; })) << bytes;
    std::memset(first, 0xab, bytes);
  }
}

TEST(Arena, PiecesAreAlignedAndDisjoint) {
  Arena arena;
  std::set<std::pair<std::uintptr_t, std::uintptr_t>> pieces;
  for (const std::int64_t count : {1, 17, 0, 1 << 19, 3, 1 << 20, 100}) {
    auto* piece = arena.take<float>(count);
    const auto begin = reinterpret_cast<std::uintptr_t>(piece);
    EXPECT_EQ(begin % 64, 0u);
    for (std::int64_t i = 0; i < count; ++i) piece[i] = 1.0f;
    EXPECT_TRUE(pieces.emplace(begin, begin + static_cast<std::uintptr_t>(count) * 4).second);
  }
  std::uintptr_t end = 0;
  for (const auto& [from, to] : pieces) {
    EXPECT_GE(from, end);
    end = to;
  }
}

TEST(Arena, ScopesGiveBackWhatWasTaken) {
  Arena arena;
  arena.take<char>(100);
  void* first = nullptr;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const Arena::Scope outer(arena);
    void* here = arena.take<char>(10);
    if (!first) first = here;
    EXPECT_EQ(here, first) << "memory is reused";
    void* inner_piece = nullptr;
    {
      const Arena::Scope inner(arena);
      inner_piece = arena.take<char>(5 << 20);  // larger than a block
    }
    EXPECT_NE(arena.take<char>(10), here);
    EXPECT_NE(inner_piece, nullptr);
  }
}

TEST(Arena, GrowthKeepsEarlierPieces) {
  Arena arena;
  int* small = arena.take<int>(4);
  small[3] = 42;
  for (int i = 0; i < 100; ++i) arena.take<char>(1 << 18);
  EXPECT_EQ(small[3], 42);
}

TEST(Rss, IsPlausible) {
  EXPECT_GT(current_rss_bytes(), 1u << 20);
  EXPECT_GE(peak_rss_bytes() + (1 << 20), current_rss_bytes());
}

}  // namespace
}  // namespace krait
