// Templates of chats: what jinja2 made of them (tests/chat_templates/oracle.py), what is refused
// and where, and what holds hostile ones back. Expressions are compared with jinja2 by the thousand
// there.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "io/json.h"
#include "krait/error.h"

namespace krait {
namespace {

const std::string kFolder = std::string(KRAIT_SOURCE_DIR) + "/tests/chat_templates/";

RenderOptions at_fixed_time() {
  RenderOptions options;
  options.now.emplace();
  options.now->tm_year = 126, options.now->tm_mon = 2, options.now->tm_mday = 4;
  options.now->tm_wday = 3, options.now->tm_yday = 62;
  options.now->tm_hour = 5, options.now->tm_min = 6, options.now->tm_sec = 7;
  return options;
}

std::string render(std::string_view source, std::string_view inputs = "{}") {
  return ChatTemplate::parse(source, "t").render(parse_ordered_json(inputs, "inputs"));
}

std::string error_of(std::string_view source, ErrorCode code, const RenderOptions& options = {}) {
  try {
    const std::string text =
        ChatTemplate::parse(source, "t").render(OrderedJson::object(), options);
    return "no error but: " + text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
}

TEST(ChatTemplate, EveryStyleGivesWhatJinjaGives) {
  const OrderedJson expected = parse_ordered_json(read_file(kFolder + "expected.json"), "expected");
  const OrderedJson chats =
      parse_ordered_json(read_file(kFolder + "conversations.json"), "conversations");
  ASSERT_GE(expected.size(), 12u);
  for (const auto& [name, texts] : expected.items()) {
    const std::string path = kFolder + name + ".jinja";
    const ChatTemplate chat = ChatTemplate::parse(read_file(path), path);
    ASSERT_EQ(texts.size(), chats.size());
    for (const auto& [conversation, text] : texts.items()) {
      SCOPED_TRACE(name + ", " + conversation);
      if (text.is_null()) {
        EXPECT_THROW(chat.render(chats.at(conversation), at_fixed_time()), Error);
      } else {
        EXPECT_EQ(chat.render(chats.at(conversation), at_fixed_time()), text.get<std::string>());
      }
    }
  }
}

TEST(ChatTemplate, KeysKeepTheirOrder) {
  EXPECT_EQ(render("{{ t|tojson }}", R"({"t": {"z": 1, "a": {"y": 2.0, "b": null}}})"),
            R"({"z": 1, "a": {"y": 2.0, "b": null}})");
}

TEST(ChatTemplate, WhatIsMissingIsAsTransformersHasIt) {
  EXPECT_EQ(render("{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ bos_token }}"),
            "NoneNoneFalse");
}

TEST(ChatTemplate, WhatIsNotThereIsRefusedWhenItIsParsedWithItsLine) {
  const std::pair<const char*, const char*> kRefused[] = {
      {"a\nb\n{% include 'x' %}", "t:3: there is no statement {% include %}"},
      {"{{ 1 }}\n{{ x | wordcount }}", "t:2: there is no filter wordcount"},
      {"\n{{ x is sameas 1 }}", "t:2: there is no test sameas"},
      {"{{ x.encode() }}", "t:1: there is no method encode()"},
      {"{{ x.append(1) }}", "t:1: there is no method append()"},
      {"\n\n{{ cycler(1) }}", "t:3: there is no function cycler()"},
      {"{{ x | map('nope') }}", "t:1: there is no filter nope"},
      {"{{ x | selectattr('a', 'nope') }}", "t:1: there is no test nope"},
      {"{{ x.__class__ }}", "t:1: the attribute __class__ is not supported"},
      {"{{ f(*x) }}", "t:1: arguments with * are not supported"},
      {"{% for x in y recursive %}{% endfor %}", "t:1: recursive loops are not supported"},
      {"{{ 9223372036854775808 }}", "t:1: the integer 9223372036854775808 needs more than 64 bits"},
  };
  for (const auto& [source, message] : kRefused) {
    EXPECT_EQ(error_of(source, ErrorCode::unsupported), message);
  }
}

TEST(ChatTemplate, WhatIsNotJinjaIsBadDataWithItsLine) {
  const std::pair<const char*, const char*> kBroken[] = {
      {"\n{% if x %}", "t:2: the template ends without {% elif %}"},
      {"{{ x", "t:1: a tag has no end \"}}\""},
      {"{# x", "t:1: a comment has no end \"#}\""},
      {"{% raw %}", "t:1: {% raw %} has no {% endraw %}"},
      {"\n{{ 1 + }}", "t:2: expected an expression, got \"}}\""},
      {"{% break %}", "t:1: break outside of a loop"},
      {"{{ 'x }}", "t:1: a string has no end '"},
      {"{% endif %}", "t:1: there is no statement {% endif %}"},
      {"\xff", "t: byte 0 of the template is not UTF-8"},
  };
  for (const auto& [source, message] : kBroken) {
    try {
      ChatTemplate::parse(source, "t");
      ADD_FAILURE() << source;
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), message);
    }
  }
}

TEST(ChatTemplate, WhatFailsNamesItsLine) {
  EXPECT_EQ(error_of("\n{{ x.y }}", ErrorCode::bad_data), "t:2: 'x' is undefined");
  EXPECT_EQ(error_of("\n\n{{ raise_exception('no ' ~ 7) }}", ErrorCode::bad_data),
            "t:3: the template refuses: no 7");
  EXPECT_EQ(error_of("{{ 9223372036854775807 + 1 }}", ErrorCode::bad_data),
            "t:1: an integer grows beyond 64 bits");
  EXPECT_EQ(error_of("{{ 1 + 'a' }}", ErrorCode::bad_data),
            "t:1: + does not work with int and str");
  EXPECT_EQ(error_of("{{ [1]|map('string') }}", ErrorCode::bad_data),
            "t:1: a generator has no text: use the filter list or join");
}

TEST(ChatTemplate, HostileTemplatesEndWithAnError) {
  RenderOptions options;
  options.max_steps = 1'000'000;
  options.max_bytes = 1 << 16;
  const auto error = [&](std::string_view source) {
    return error_of(source, ErrorCode::bad_data, options);
  };
  const std::string loop = "{% for a in range(1000) %}", end = "{% endfor %}";
  EXPECT_EQ(error(loop + loop + loop + end + end + end), "t:1: the template takes too many steps");
  EXPECT_EQ(error(loop + loop + "x" + end + end), "t:1: the text grows over 65536 bytes");
  EXPECT_EQ(error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
            "t:1: calls and expressions are nested deeper than 600");
  for (const char* grown : {"ns.x ~ ns.x", "ns.x * 1000", "ns.x.replace('', ns.x)",
                            "[ns.x, ns.x]|string", "[ns.x]", "ns.x|indent(99999)",
                            "ns.x.join(range(1000)|map('string'))", "[ns.x.count]", "ns", "loop"}) {
    const std::string text = error("{% set ns = namespace(x='a b') %}" + loop +
                                   "{% set ns.x = " + grown + " %}" + end + "{{ [ns.x]|tojson }}");
    EXPECT_TRUE(text.starts_with("t:1: ")) << grown << ": " << text;
  }
  const std::string nested =
      "{% set ns = namespace(x=[]) %}" + loop + "{% set ns.x = [ns.x, ns.x] %}";
  EXPECT_EQ(error(nested + end), "t:1: values are nested deeper than 200 levels");
  EXPECT_EQ(
      error("{% set ns = namespace(x=[]) %}{% for a in range(150) %}{% set ns.x = [ns.x, ns.x] %}"
            "{% endfor %}{{ ns.x }}"),
      "t:1: the template takes too many steps");
  EXPECT_TRUE(error_of(std::string(5000, '(') + "1" + std::string(5000, ')'), ErrorCode::bad_data)
                  .starts_with("no error"));  // text
  for (const std::string& deep :
       {"{{ " + std::string(5000, '(') + " }}", "{{ " + std::string(5000, '-') + "1 }}",
        "{{ 1" + std::string(5000, '[') + " }}"}) {
    EXPECT_THROW(ChatTemplate::parse(deep, "t"), Error);
  }
  std::string sum = "{{ 1", ifs;
  for (int i = 0; i < 5000; ++i) sum += " + 1", ifs += "{% if x %}";
  EXPECT_THROW(ChatTemplate::parse(sum + " }}", "t"), Error);
  EXPECT_THROW(ChatTemplate::parse(ifs, "t"), Error);
}

TEST(ChatTemplate, InputsThatAreNoChatAreRefused) {
  const ChatTemplate chat = ChatTemplate::parse("{{ x }}", "t");
  EXPECT_THROW(chat.render(OrderedJson::array()), Error);
  EXPECT_THROW(chat.render({{"x", "\xff"}}), Error);
  EXPECT_THROW(chat.render({{"x", ~std::uint64_t{0}}}), Error);
  OrderedJson deep = 1;
  for (int i = 0; i < 1000; ++i) deep = OrderedJson::array({std::move(deep)});
  EXPECT_THROW(chat.render({{"x", std::move(deep)}}), Error);
}

class Directory : public testing::Test {
 protected:
  Directory() { std::filesystem::create_directories(path_); }
  ~Directory() override { std::filesystem::remove_all(path_); }
  void put(const std::string& name, std::string_view content) const {
    const auto file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }
  std::string rendered(const OrderedJson& inputs = OrderedJson::object()) const {
    const auto chat = find_chat_template(path_);
    return chat ? chat->render(inputs) : "none";
  }
  const std::string path_ = testing::TempDir() + "chat_template_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(Directory, TheTemplateIsTheFileOrThatOfTheTokenizer) {
  EXPECT_EQ(rendered(), "none");
  put("tokenizer_config.json", R"({"bos_token": "<s>"})");
  EXPECT_EQ(rendered(), "none");
  put("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(rendered(), "config");
  put("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "plain"},
      {"name": "rag", "template": "{% nope %}"}, {"name": "tool_use", "template": "tools"}]})");
  EXPECT_EQ(rendered(), "plain");
  EXPECT_EQ(rendered({{"tools", nullptr}}), "plain");
  EXPECT_EQ(rendered({{"tools", OrderedJson::array()}}), "tools");
  put("chat_template.jinja", "file\n");
  EXPECT_EQ(rendered({{"tools", OrderedJson::array()}}), "file");
  put("additional_chat_templates/tool_use.jinja", "file for tools");
  EXPECT_EQ(rendered({{"tools", OrderedJson::array()}}), "file for tools");
}

TEST_F(Directory, ABrokenConfigIsRefused) {
  for (const char* config :
       {"[]", R"({"chat_template": 1})", R"({"chat_template": [{"name": "default"}]})",
        R"({"chat_template": [{"name": "rag", "template": ""}]})"}) {
    put("tokenizer_config.json", config);
    EXPECT_THROW(find_chat_template(path_), Error) << config;
  }
}

TEST_F(Directory, SpecialTokensAreTextsOrObjects) {
  EXPECT_EQ(find_special_tokens(path_), OrderedJson::object());
  put("tokenizer_config.json",
      R"({"bos_token": {"content": "<s>", "lstrip": false}, "pad_token": null, "eos_token": "</s>"})");
  put("special_tokens_map.json", R"({"bos_token": "other", "unk_token": {"content": "<unk>"}})");
  const OrderedJson expected = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
  EXPECT_EQ(find_special_tokens(path_), expected);
  put("special_tokens_map.json", R"({"unk_token": 7})");
  EXPECT_THROW(find_special_tokens(path_), Error);
}

}  // namespace
}  // namespace krait
