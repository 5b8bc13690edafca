#include "io/sha256.h"

#include <gtest/gtest.h>

#include "io/file.h"
#include "io/test_support.h"

namespace krait {
namespace {

// FIPS 180-4 examples and lengths around a block, from sha256sum.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesMakeNoDifference) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 31);
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const std::string_view whole = std::string_view(text).substr(0, length);
    Sha256 pieces;
    for (std::size_t at = 0, step = 1; at < length; at += step, step = step % 67 + 3) {
      pieces.update(whole.substr(at, step));
    }
    EXPECT_EQ(pieces.hex(), sha256_hex(whole)) << length;
  }
}

TEST(Sha256, Files) {
  TemporaryDirectory directory;
  write_file_atomic(directory / "x", std::string(1'000'000, 'a'));
  EXPECT_EQ(sha256_file_hex(directory / "x"), sha256_hex(std::string(1'000'000, 'a')));
  expect_error([&] { sha256_file_hex(directory / "y"); }, ErrorCode::not_found, {"y"});
}

}  // namespace
}  // namespace krait
