#include "io/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "krait/error.h"

namespace krait {
namespace {

std::string error_of(const std::string& text, DuplicateKeys duplicates = DuplicateKeys::keep_last) {
  try {
    parse_json(text, "config.json", duplicates);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_data);
    return error.what();
  }
  return "";
}

TEST(Json, ReadsBareInfinityAndNan) {
  const Json json = parse_json(
      R"({"time_step_limit": [0.0, Infinity], "low": -Infinity, "nan": NaN, "s": "Infinity, NaN \" NaN"})",
      "config.json");
  EXPECT_EQ(json["time_step_limit"][0], 0.0);
  EXPECT_EQ(json["time_step_limit"][1].get<double>(), INFINITY);
  EXPECT_EQ(json["low"].get<double>(), -INFINITY);
  EXPECT_TRUE(std::isnan(json["nan"].get<double>()));
  EXPECT_EQ(json["s"], "Infinity, NaN \" NaN");
}

TEST(Json, ReadsWrappedFloats) {
  const Json json = parse_json(
      R"({"a": {"__float__": "Infinity"}, "b": {"__float__": "-Infinity"},
          "c": [{"__float__": "NaN"}], "d": {"__float__": "1"}, "e": {"__float__": 1}})",
      "config.json");
  EXPECT_EQ(json["a"].get<double>(), INFINITY);
  EXPECT_EQ(json["b"].get<double>(), -INFINITY);
  EXPECT_TRUE(std::isnan(json["c"][0].get<double>()));
  EXPECT_TRUE(json["d"].is_object());
  EXPECT_TRUE(json["e"].is_object());
}

TEST(Json, WritesWhatItReads) {
  const Json json = {{"limit", {0.0, INFINITY, -INFINITY}}, {"a", {{"b", 3}}}, {"c", "x\xff"}};
  const std::string text = format_json(json);
  EXPECT_TRUE(text.ends_with("}\n"));
  EXPECT_NE(text.find("\"__float__\": \"-Infinity\""), std::string::npos);
  const Json back = parse_json(text, "x");
  EXPECT_EQ(back["limit"], json["limit"]);
  EXPECT_EQ(back["a"], json["a"]);
  EXPECT_TRUE(std::isnan(parse_json(format_json({NAN}), "x")[0].get<double>()));
}

TEST(Json, ReadsEveryKindOfValue) {
  const Json json = parse_json(
      "\xEF\xBB\xBF [null, true, false, -3, 18446744073709551615, 1.5e3, \"\\u00e9\", {}, []]",
      "x");
  EXPECT_EQ(json, Json::parse("[null,true,false,-3,18446744073709551615,1500.0,\"\u00e9\",{},[]]"));
  EXPECT_EQ(parse_json("7", "x"), 7);
}

TEST(Json, ErrorsNameFileLineAndColumn) {
  EXPECT_TRUE(
      error_of("{\n  \"a\": 1,\n  \"b\": ,\n}").starts_with("config.json:3:8: invalid JSON: "));
  EXPECT_TRUE(error_of("").starts_with("config.json:1:1: "));
  EXPECT_TRUE(error_of("[1, 2").starts_with("config.json:1:6: ")) << error_of("[1, 2");
  // Columns are those of the file, not of the text with Infinity rewritten, and count characters.
  EXPECT_TRUE(error_of("[\"\xC3\xA9\", Infinity, NaN, x]").starts_with("config.json:1:22: "))
      << error_of("[\"\xC3\xA9\", Infinity, NaN, x]");
  EXPECT_TRUE(error_of("[1e999]").starts_with("config.json:1:")) << error_of("[1e999]");
  EXPECT_TRUE(error_of("[Infinityx]").starts_with("config.json:1:2: ")) << error_of("[Infinityx]");
  for (const char* text :
       {"[Infinit]", "[Infinityx]", "[xNaN]", "[-NaN]", "[+Infinity]", "[1NaN]", "{NaN: 1}",
        "NaN NaN", "\"\xff\"", "\"\xc3\"", "[\"a\nb\"]", "[1,]", "// x"}) {
    const std::string error = error_of(text);
    EXPECT_FALSE(error.empty()) << text;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_EQ(error.find("json.exception"), std::string::npos) << error;
  }
}

TEST(Json, DepthIsLimited) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(error_of(nested(200)).empty());
  EXPECT_NE(error_of(nested(201)).find("nested deeper than 200"), std::string::npos);
  EXPECT_NE(error_of(std::string(1'000'000, '[')).find("nested deeper"), std::string::npos);
}

TEST(Json, DuplicateKeysAreRefusedWhereAsked) {
  EXPECT_EQ(parse_json(R"({"a": 1, "a": 2})", "x")["a"], 2);
  EXPECT_NE(error_of(R"({"a": 1, "a": 2})", DuplicateKeys::refuse).find("\"a\" occurs twice"),
            std::string::npos);
  EXPECT_TRUE(error_of(R"({"a": {"a": 1}, "b": {"a": 2}})", DuplicateKeys::refuse).empty());
}

TEST(Json, MissingFileIsNotFound) {
  try {
    read_json_file("/nowhere/config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(std::string(error.what()).find("/nowhere/config.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace krait
