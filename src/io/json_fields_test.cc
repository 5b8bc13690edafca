#include "io/json_fields.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "io/test_support.h"

namespace krait {
namespace {

using enum ErrorCode;

const std::vector<std::string> kKnown = {"name", "count", "share", "on", "list", "sizes"};

JsonFields fields_of(const Json& json) { return {json, "file.json: part", kKnown, bad_data}; }

TEST(JsonFields, ReadsWhatIsThereAndFallsBack) {
  const Json json = {{"name", "a"}, {"count", 3},         {"share", 0.5},
                     {"on", true},  {"list", {"x", "y"}}, {"sizes", {1, 2}}};
  const JsonFields fields = fields_of(json);
  EXPECT_EQ(fields.text("name"), "a");
  EXPECT_EQ(fields.integer("count"), 3);
  EXPECT_EQ(fields.integer("count", -5, 3, 0), 3);
  EXPECT_EQ(fields.number("share", 0, 1, 0), 0.5);
  EXPECT_TRUE(fields.flag("on", false));
  EXPECT_EQ(fields.texts("list"), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(fields.integers("sizes", 0, 2, {}), (std::vector<std::int64_t>{1, 2}));

  const Json nothing = Json::object();
  const JsonFields empty = fields_of(nothing);
  EXPECT_EQ(empty.text("name", "b"), "b");
  EXPECT_EQ(empty.integer("count", 0, 10, 7), 7);
  EXPECT_EQ(empty.number("share", 0, 1, 0.25), 0.25);
  EXPECT_TRUE(empty.flag("on", true));
  EXPECT_EQ(empty.texts("list", {"z"}), std::vector<std::string>{"z"});
  EXPECT_EQ(empty.integers("sizes", 0, 2, {9}), std::vector<std::int64_t>{9});
}

TEST(JsonFields, RefusesWithPlaceKeyAndWhatItGot) {
  const auto refuse = [](const Json& json, const std::function<void(const JsonFields&)>& read,
                         std::initializer_list<std::string> parts) {
    expect_error([&] { read(fields_of(json)); }, bad_data, parts);
  };
  const auto nothing = [](const JsonFields&) {};
  refuse(Json::array(), nothing, {"file.json: part", "object", "array"});
  refuse({{"nam", 1}}, nothing, {"file.json: part", "did you mean \"name\""});
  refuse(Json::object(), [](const auto& f) { f.text("name"); }, {"\"name\" is missing"});
  refuse(Json::object(), [](const auto& f) { f.integer("count"); }, {"\"count\" is missing"});
  refuse({{"name", 1}}, [](const auto& f) { f.text("name"); }, {"\"name\"", "string", "number"});
  refuse({{"on", 1}}, [](const auto& f) { f.flag("on", true); }, {"\"on\"", "true or false"});
  refuse({{"count", -1}}, [](const auto& f) { f.integer("count"); }, {"\"count\"", "-1"});
  refuse({{"count", 1.5}}, [](const auto& f) { f.integer("count"); }, {"\"count\"", "1.5"});
  refuse({{"count", 4}}, [](const auto& f) { f.integer("count", 0, 3, 0); }, {"0 to 3", "got 4"});
  refuse({{"count", 18446744073709551615u}}, [](const auto& f) { f.integer("count", 0, 3, 0); },
         {"18446744073709551615"});
  refuse({{"share", "x"}}, [](const auto& f) { f.number("share", 0, 1, 0); }, {"0 to 1", "\"x\""});
  refuse({{"list", "x"}}, [](const auto& f) { f.texts("list"); }, {"list of strings", "string"});
  refuse({{"list", Json::array()}}, [](const auto& f) { f.texts("list"); }, {"got none"});
  refuse({{"list", {1}}}, [](const auto& f) { f.texts("list"); }, {"one is number"});
  refuse({{"sizes", {1, 5}}}, [](const auto& f) { f.integers("sizes", 0, 3, {}); }, {"got 5"});
  refuse({{"sizes", 3}}, [](const auto& f) { f.integers("sizes", 0, 3, {}); }, {"list", "number"});
}

TEST(JsonFields, OfOtherProgramsMayHoldAnyKeysAndNull) {
  const Json json = {{"type", "Split"}, {"invert", nullptr}, {"more", 1}, {"list", {1, 2}}};
  const JsonFields fields(json, "tokenizer.json");
  EXPECT_EQ(fields.text("type"), "Split");
  EXPECT_FALSE(fields.has("invert"));
  EXPECT_TRUE(fields.flag("invert", true));
  EXPECT_TRUE(fields.get("invert").is_null());
  EXPECT_TRUE(fields.get("nothing").is_null());
  EXPECT_EQ(fields.get("more"), 1);
  EXPECT_EQ(fields.integer("more", 1, 5), 1);
  EXPECT_EQ(fields.list("list"), json["list"]);
  expect_error([&] { fields.text("invert"); }, bad_data, {"tokenizer.json", "\"invert\" is missing"});
  expect_error([&] { fields.list("type"); }, bad_data, {"\"type\"", "list", "string"});
  expect_error([&] { fields.integer("more", 2, 5); }, bad_data, {"2 to 5", "got 1"});
  expect_error([] { JsonFields(nullptr, "x"); }, bad_data, {"x", "object", "null"});
}

TEST(JsonFields, OfKraitTakeNullForAValue) {
  const Json json = {{"on", nullptr}};
  expect_error([&] { fields_of(json).flag("on", true); }, bad_data, {"\"on\"", "null"});
}

}  // namespace
}  // namespace krait
