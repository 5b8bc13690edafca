#include "io/npy.h"

#include <gtest/gtest.h>

#include "io/test_support.h"

namespace krait {
namespace {

TEST(Npy, HeaderIsFormatOneAndAligned) {
  for (const std::int64_t rows : {1, 3, 123456789}) {
    const std::string header = npy_header(rows, 258);
    EXPECT_EQ(header.size() % 64, 0u);
    EXPECT_TRUE(header.starts_with(std::string_view("\x93NUMPY\x01\x00", 8)));
    EXPECT_EQ(header.back(), '\n');
    EXPECT_EQ(static_cast<unsigned char>(header[8]) + 256u * static_cast<unsigned char>(header[9]),
              header.size() - 10);
    EXPECT_NE(header.find("'shape': (" + std::to_string(rows) + ", 258)"), std::string::npos);
    expect_error([&] { parse_npy_integers(header, "x.npy"); }, ErrorCode::bad_data,
                 {"x.npy", "\"<f4\""});
  }
}

TEST(Npy, IntegersAreFoundBehindTheHeader) {
  std::string file = npy_header(2, 3);
  const std::size_t size = file.size();
  file.replace(file.find("<f4"), 3, "<i4");
  const NpyIntegers found = parse_npy_integers(file, "x.npy");
  EXPECT_EQ(found.offset, size);
  EXPECT_EQ(found.width, 4u);
  EXPECT_TRUE(found.is_signed);
  file.replace(file.find("<i4"), 3, "|u2");
  EXPECT_EQ(parse_npy_integers(file, "x.npy").width, 2u);
  EXPECT_FALSE(parse_npy_integers(file, "x.npy").is_signed);
  EXPECT_FALSE(parse_npy_integers(std::string_view(file).substr(0, size), "x.npy").is_signed);
  expect_error([&] { parse_npy_integers(std::string_view(file).substr(0, size - 1), "x.npy"); },
               ErrorCode::bad_data, {"x.npy", "ends after the file"});
}

}  // namespace
}  // namespace krait
