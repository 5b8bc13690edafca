#include "core/check.h"

#include <gtest/gtest.h>

#include "krait/error.h"

namespace krait {
namespace {

std::string message_of(const std::string& quoted) {
  try {
    fail(ErrorCode::bad_data, "file {}: broken", quoted);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_data);
    return error.what();
  }
}

TEST(Check, MessagesStayOneLineWhateverTheyQuote) {
  EXPECT_EQ(message_of("a.json"), "file a.json: broken");
  EXPECT_EQ(message_of("a\nb\r\t\x1b[2Jc\x7f"), "file a?b???[2Jc?: broken");
  EXPECT_EQ(message_of(std::string("a\0b", 3)), "file a?b: broken");
  EXPECT_EQ(message_of("\xc3\xa9t\xc3\xa9"), "file \xc3\xa9t\xc3\xa9: broken");
}

TEST(Check, ThrowsOnlyIfTheConditionFails) {
  EXPECT_NO_THROW(check(true, ErrorCode::io_error, "{}", 1));
  EXPECT_THROW(check(false, ErrorCode::io_error, "{}", 1), Error);
}

TEST(Check, CodesHaveNames) {
  EXPECT_STREQ(name_of(ErrorCode::invalid_argument), "invalid_argument");
  EXPECT_STREQ(name_of(ErrorCode::io_error), "io_error");
  EXPECT_STREQ(name_of(ErrorCode::cancelled), "cancelled");
  EXPECT_STREQ(name_of(ErrorCode::out_of_memory), "out_of_memory");
  EXPECT_STREQ(name_of(ErrorCode::busy), "busy");
  EXPECT_STREQ(name_of(ErrorCode::internal), "internal");
}

}  // namespace
}  // namespace krait
