#include "text/chat_template.h"

#include <array>
#include <filesystem>
#include <utility>

#include "core/check.h"
#include "core/printable.h"
#include "io/json.h"
#include "text/jinja_evaluate.h"
#include "text/jinja_parser.h"
#include "text/utf8.h"

namespace krait {
namespace {

using jinja::Value;

struct Template {
  std::string where;
  jinja::Body body;
};

Value text_value(const std::string& text) {
  if (valid_utf8_prefix(text) != text.size()) jinja::raise("a text of the chat is not UTF-8");
  return text;
}

Value value_of(jinja::Budget& budget, const OrderedJson& json, int depth = 0) {
  if (depth > 150) jinja::raise("the chat is nested deeper than 150 levels");
  switch (json.type()) {
    case OrderedJson::value_t::boolean:
      return json.get<bool>();
    case OrderedJson::value_t::number_integer:
      return json.get<std::int64_t>();
    case OrderedJson::value_t::number_unsigned:
      if (json.get<std::uint64_t>() >> 63 != 0) jinja::raise("an integer needs more than 64 bits");
      return json.get<std::int64_t>();
    case OrderedJson::value_t::number_float:
      return json.get<double>();
    case OrderedJson::value_t::string:
      return text_value(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      for (const OrderedJson& item : json) items.push_back(value_of(budget, item, depth + 1));
      return make_sequence(budget, std::move(items));
    }
    case OrderedJson::value_t::object: {
      std::vector<std::pair<Value, Value>> entries;
      for (const auto& [key, item] : json.items()) {
        entries.emplace_back(text_value(key), value_of(budget, item, depth + 1));
      }
      return make_dict(budget, std::move(entries));
    }
    default:
      return jinja::None{};
  }
}

std::string render(const Template& chat, const OrderedJson& inputs, const RenderOptions& options) {
  jinja::Budget budget(options.max_steps);
  int line = 1;
  try {
    std::vector<std::pair<std::string, Value>> variables = {
        {"tools", jinja::None{}}, {"documents", jinja::None{}}, {"add_generation_prompt", false}};
    for (const auto& [key, item] : inputs.items()) {
      Value value = value_of(budget, item);
      auto known = variables.begin();
      while (known != variables.end() && known->first != key) ++known;
      if (known != variables.end()) {
        known->second = std::move(value);
      } else {
        variables.emplace_back(key, std::move(value));
      }
    }
    return evaluate(chat.body, std::move(variables), {options.max_steps, options.max_bytes},
                    options.now, budget, line);
  } catch (const jinja::Failure& failure) {
    fail(ErrorCode::bad_data, "{}:{}: {}", chat.where, line, failure.what());
  }
}

bool exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// An object of the directory's file, or an empty one where there is no such file.
OrderedJson read_object(const std::string& directory, const std::string& name) {
  const std::string path = directory + "/" + name;
  if (!exists(path)) return OrderedJson::object();
  OrderedJson json = parse_ordered_json(read_file(path), path);
  check(json.is_object(), ErrorCode::bad_data, "{}: expected an object, got {}", path,
        json.type_name());
  return json;
}

}  // namespace

struct ChatTemplate::Impl {
  Template plain;
  std::optional<Template> with_tools;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::parse(std::string_view source, const std::string& where) {
  return ChatTemplate(std::make_unique<Impl>(Impl{{where, jinja::parse(source, where)}, {}}));
}

std::string ChatTemplate::render(const OrderedJson& inputs, const RenderOptions& options) const {
  check(inputs.is_object(), ErrorCode::invalid_argument,
        "the inputs of a chat template must be an object, got {}", inputs.type_name());
  const bool tools = impl_->with_tools && inputs.contains("tools") && !inputs.at("tools").is_null();
  return krait::render(tools ? *impl_->with_tools : impl_->plain, inputs, options);
}

std::optional<ChatTemplate> find_chat_template(const std::string& directory) {
  const auto parsed = [](std::string_view source, const std::string& where) {
    return Template{where, jinja::parse(source, where)};
  };
  ChatTemplate::Impl found;
  const std::string file = directory + "/chat_template.jinja";
  if (exists(file)) {
    found.plain = parsed(read_file(file), file);
    const std::string tools = directory + "/additional_chat_templates/tool_use.jinja";
    if (exists(tools)) found.with_tools = parsed(read_file(tools), tools);
    return ChatTemplate(std::make_unique<ChatTemplate::Impl>(std::move(found)));
  }
  const OrderedJson config = read_object(directory, "tokenizer_config.json");
  const auto entry = config.find("chat_template");
  if (entry == config.end() || entry->is_null()) return std::nullopt;
  const std::string where = directory + "/tokenizer_config.json: chat_template";
  if (entry->is_string()) {
    found.plain = parsed(entry->get_ref<const std::string&>(), where);
    return ChatTemplate(std::make_unique<ChatTemplate::Impl>(std::move(found)));
  }
  check(entry->is_array(), ErrorCode::bad_data, "{} must be a text or a list, got {}", where,
        entry->type_name());
  bool has_plain = false;
  for (const OrderedJson& named : *entry) {
    const bool complete = named.is_object() && named.contains("name") &&
                          named.at("name").is_string() && named.contains("template") &&
                          named.at("template").is_string();
    check(complete, ErrorCode::bad_data, "{}: each must have a name and a template", where);
    const auto& name = named.at("name").get_ref<const std::string&>();
    if (name != "default" && name != "tool_use") continue;
    Template made = parsed(named.at("template").get_ref<const std::string&>(), where + " " + name);
    if (name == "tool_use") {
      found.with_tools = std::move(made);
    } else {
      found.plain = std::move(made);
      has_plain = true;
    }
  }
  check(has_plain, ErrorCode::unsupported, "{}: none of the {} templates is the default one", where,
        entry->size());
  return ChatTemplate(std::make_unique<ChatTemplate::Impl>(std::move(found)));
}

OrderedJson find_special_tokens(const std::string& directory) {
  constexpr std::array<const char*, 7> kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                 "pad_token", "cls_token", "mask_token"};
  OrderedJson tokens = OrderedJson::object();
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const OrderedJson json = read_object(directory, file);
    for (const char* name : kNames) {
      const auto entry = json.find(name);
      if (tokens.contains(name) || entry == json.end() || entry->is_null()) continue;
      const OrderedJson& text =
          entry->is_object() && entry->contains("content") ? entry->at("content") : *entry;
      check(text.is_string(), ErrorCode::bad_data, "{}/{}: {} must be a text, got {}", directory,
            file, name, text.type_name());
      tokens[name] = text;
    }
  }
  return tokens;
}

}  // namespace krait
