#include "cli/prompts.h"

#include <gtest/gtest.h>

#include "krait/error.h"

namespace krait::cli {
namespace {

using Prompts = std::vector<std::string>;

TEST(Prompts, AreLinesOrJsonLines) {
  EXPECT_EQ(parse_prompts("a\r\n\n b \n{\"prompt\": 1}\nc", "x"),
            (Prompts{"a", " b ", "{\"prompt\": 1}", "c"}));
  EXPECT_EQ(parse_prompts("\n{\"prompt\": \"a\\nb\", \"id\": 3}\n{\"prompt\": \"\"}\n", "x"),
            (Prompts{"a\nb", ""}));
  EXPECT_EQ(parse_prompts("{\"text\": 1}\n", "x"), (Prompts{"{\"text\": 1}"}));
}

TEST(Prompts, WrongLinesAreNamed) {
  const auto message = [](const char* text) -> std::string {
    try {
      parse_prompts(text, "file");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message("\n \n"), "file has no prompts");
  EXPECT_NE(message("{\"prompt\": \"a\"}\nb\n").find("file:2:"), std::string::npos);
  EXPECT_NE(message("{\"prompt\": \"a\"}\n\n{\"prompt\": 2}").find("file:3:"), std::string::npos);
  EXPECT_NE(message("{\"prompt\": \"a\"}\n{\"text\": 2}").find("file:2:"), std::string::npos);
}

}  // namespace
}  // namespace krait::cli
