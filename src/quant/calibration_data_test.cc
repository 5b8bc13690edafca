#include "quant/calibration_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "io/file.h"
#include "io/test_support.h"
#include "quant/embedded.h"

namespace krait {
namespace {

/// One id per byte; 1 in front of a whole document.
std::vector<TokenId> encode_bytes(std::string_view text, bool add_special) {
  std::vector<TokenId> ids;
  if (add_special) ids.push_back(1);
  for (char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& data,
                bool fortran = false) {
  std::string header = "{'descr': '" + descr +
                       "', 'fortran_order': " + (fortran ? "True" : "False") +
                       ", 'shape': " + shape + ", }";
  header += std::string(63 - (header.size() + 10) % 64, ' ') + "\n";
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 255) +
         static_cast<char>(header.size() >> 8) + header + data;
}

template <typename T>
std::string little_endian(std::initializer_list<T> values) {
  std::string bytes;
  for (T value : values) {
    for (std::size_t k = 0; k < sizeof(T); ++k) {
      bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> 8 * k & 255);
    }
  }
  return bytes;
}

class CalibrationFile : public testing::Test {
 protected:
  CalibrationData load(const std::string& name, const std::string& content, int samples,
                       int seq_len, std::uint64_t seed = 1) {
    write_file_atomic(directory_ / name, content);
    return load_calibration({directory_ / name, samples, seq_len, seed, 256}, encode_bytes);
  }
  TemporaryDirectory directory_;
};

TEST_F(CalibrationFile, TextIsCutIntoPieces) {
  std::string text(1003, 'a');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i / 100);
  const CalibrationData data = load("a.txt", text, 10, 100);
  EXPECT_EQ(data.available, 10);
  ASSERT_EQ(data.samples.size(), 10u);
  std::set<TokenId> seen;
  for (const auto& sample : data.samples) {
    EXPECT_EQ(sample.size(), 100u);
    EXPECT_EQ(std::count(sample.begin(), sample.end(), sample[0]), 100);
    seen.insert(sample[0]);
  }
  EXPECT_EQ(seen.size(), 10u);  // without replacement
  EXPECT_EQ(data.tokens(), 1000);
  EXPECT_EQ(data.source, "a.txt");
  EXPECT_TRUE(data.hash.starts_with("sha256:"));
}

TEST_F(CalibrationFile, TheSeedDecides) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += static_cast<char>('a' + i % 26);
  const auto first = load("a.txt", text, 20, 30, 1).samples;
  EXPECT_EQ(load("a.txt", text, 20, 30, 1).samples, first);
  EXPECT_NE(load("a.txt", text, 20, 30, 2).samples, first);
}

TEST_F(CalibrationFile, FewerThanWantedAreAllTaken) {
  EXPECT_EQ(load("a.txt", std::string(95, 'x'), 512, 30).samples.size(), 3u);
  const CalibrationData one = load("a.txt", "short", 512, 30);
  ASSERT_EQ(one.samples.size(), 1u);
  EXPECT_EQ(one.samples[0].size(), 5u);
}

TEST_F(CalibrationFile, InvalidUtf8IsText) {
  EXPECT_EQ(load("a.txt", "\xff\xc0\x80", 1, 3).samples[0], (std::vector<TokenId>{255, 192, 128}));
}

TEST_F(CalibrationFile, DocumentsGiveOneSampleEach) {
  const std::string lines =
      "{\"text\": \"abc\"}\n\n  \n{\"text\": \"defghij\", \"meta\": {}}\r\n{\"text\": \"k\"}";
  const CalibrationData data = load("a.jsonl", lines, 10, 4);
  EXPECT_EQ(data.available, 3);
  auto samples = data.samples;
  std::sort(samples.begin(), samples.end(), [](auto& a, auto& b) { return a[1] < b[1]; });
  EXPECT_EQ(samples,
            (std::vector<std::vector<TokenId>>{{1, 'a', 'b', 'c'}, {1, 'd', 'e', 'f'}, {1, 'k'}}));
  EXPECT_EQ(load("a.jsonl", lines, 2, 4).samples.size(), 2u);
}

TEST_F(CalibrationFile, BrokenLinesAreNamed) {
  expect_error([&] { load("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": }", 9, 9); },
               ErrorCode::bad_data, {"a.jsonl, line 3"});
  for (const char* line : {"{\"content\": \"a\"}", "[1]", "{\"text\": 3}"}) {
    expect_error([&] { load("a.jsonl", line, 9, 9); }, ErrorCode::bad_data,
                 {"a.jsonl, line 1", "\"text\""});
  }
}

TEST_F(CalibrationFile, EmptyOrAbsentIsAnError) {
  for (const char* name : {"a.txt", "a.jsonl", "a.bin"}) {
    expect_error([&] { load(name, "", 9, 9); }, ErrorCode::bad_data, {name, "empty"});
  }
  expect_error([&] { load("a.jsonl", " \n \n", 9, 9); }, ErrorCode::bad_data,
               {"a.jsonl", "no text"});
  expect_error([&] { load("a.npy", npy("<i4", "(0,)", ""), 9, 9); }, ErrorCode::bad_data,
               {"a.npy", "no token"});
  expect_error(
      [&] {
        load_calibration({directory_ / "absent", 1, 1, 0, 9}, encode_bytes);
      },
      ErrorCode::not_found, {"absent"});
  expect_error([&] { load("a.txt", "a", 0, 9); }, ErrorCode::invalid_argument, {"1 sample"});
  expect_error([&] { load("a.txt", "a", 9, 0); }, ErrorCode::invalid_argument, {"1 token"});
}

TEST(CalibrationBuiltIn, IsOrdinaryText) {
  EXPECT_GT(embedded_calibration_text().size(), 500000u);
  const CalibrationData data = load_calibration({"", 4, 64, 7, 256}, encode_bytes);
  EXPECT_EQ(data.source, "built in");
  EXPECT_EQ(data.samples.size(), 4u);
  for (const auto& sample : data.samples) {
    for (TokenId id : sample) EXPECT_NE(id, 0);
  }
}

TEST(TokenFile, ReadsEveryWidth) {
  const std::vector<TokenId> ids = {0, 7, 255};
  EXPECT_EQ(
      parse_token_file(npy("<i4", "(3,)", little_endian<std::int32_t>({0, 7, 255})), "a.npy", 256),
      ids);
  EXPECT_EQ(
      parse_token_file(npy("<u2", "(3,)", little_endian<std::uint16_t>({0, 7, 255})), "a.npy", 256),
      ids);
  EXPECT_EQ(parse_token_file(npy("<i8", "(1, 3)", little_endian<std::int64_t>({0, 7, 255})),
                             "a.npy", 256),
            ids);
  EXPECT_EQ(parse_token_file(little_endian<std::uint16_t>({0, 7, 255}), "a.bin", 65536), ids);
  EXPECT_EQ(parse_token_file(little_endian<std::uint32_t>({0, 7, 255}), "a.bin", 65537), ids);
}

TEST(TokenFile, RefusesWhatIsNoTokenFile) {
  const auto refuse = [](const std::string& bytes, const char* path,
                         std::initializer_list<std::string> parts) {
    expect_error([&] { parse_token_file(bytes, path, 256); }, ErrorCode::bad_data, parts);
  };
  refuse("", "a.npy", {"a.npy", "no .npy file"});
  refuse("\x93NUMPY", "a.npy", {"no .npy file"});
  refuse(npy("<f4", "(1,)", "abcd"), "a.npy", {"<i4", "\"<f4\""});
  refuse(npy("<i\n4", "(1,)", "abcd"), "a.npy", {"\"<i?4\""});
  refuse(npy("<i4", "(1\n)", "abcd"), "a.npy", {"(1?)"});
  refuse(npy(">i4", "(1,)", "abcd"), "a.npy", {"\">i4\""});
  refuse(npy("<i4", "(1, 1, 1)", "abcd"), "a.npy", {"one- or two-dimensional"});
  refuse(npy("<i4", "(2,)", "abcdefgh", true), "a.npy", {"C order"});
  refuse(npy("<i4", "(1,)", "abcde"), "a.npy", {"5 bytes", "4 bytes of an id"});
  refuse(npy("<i4", "(2,)", little_endian<std::int32_t>({3, 256})), "a.npy",
         {"id 256 at index 1", "[0, 256)"});
  refuse(npy("<i8", "(2,)", little_endian<std::int64_t>({3, -1})), "a.npy", {"below 0 at index 1"});
  refuse("abc", "a.bin", {"3 bytes"});
  std::string truncated = npy("<i4", "(1,)", "");
  truncated.resize(40);
  refuse(truncated, "a.npy", {"header ends after the file"});
}

}  // namespace
}  // namespace krait
