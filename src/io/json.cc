#include "io/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

constexpr std::size_t kMaxDepth = 200;
constexpr std::string_view kFloatKey = "__float__";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

/// A text with every bare Infinity, -Infinity and NaN replaced by {"__float__":"..."}, which JSON
/// can say, and the way back from its offsets to those of the original.
struct Rewritten {
  std::string text;
  struct Edit {
    std::size_t end;     ///< offset in `text` just behind the replacement
    std::size_t growth;  ///< how much longer the replacement is than what it replaces
  };
  std::vector<Edit> edits;

  std::size_t original_offset(std::size_t offset) const {
    std::size_t growth = 0;
    for (const Edit& edit : edits) {
      if (edit.end > offset) break;
      growth += edit.growth;
    }
    return offset - growth;
  }
};

Rewritten rewrite_literals(std::string_view text) {
  Rewritten out;
  std::size_t copied = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    if (c == '"') in_string = true;
    if (c != 'I' && c != 'N') continue;  // outside strings no JSON token contains either letter
    std::string_view literal = c == 'I' ? "Infinity" : "NaN";
    std::size_t begin = i;
    if (!text.substr(i).starts_with(literal)) continue;
    const std::size_t end = i + literal.size();
    if (c == 'I' && i > 0 && text[i - 1] == '-') {
      literal = "-Infinity";
      begin = i - 1;
    }
    if ((begin > 0 && is_word(text[begin - 1])) || (end < text.size() && is_word(text[end])))
      continue;
    out.text += text.substr(copied, begin - copied);
    const std::size_t before = out.text.size();
    out.text += fmt::format("{{\"{}\":\"{}\"}}", kFloatKey, literal);
    out.edits.push_back({out.text.size(), out.text.size() - before - (end - begin)});
    copied = end;
    i = end - 1;
  }
  if (!out.edits.empty()) out.text += text.substr(copied);
  return out;
}

/// Builds the document from nlohmann's events; unlike its own builder this one limits the depth,
/// knows the position of every error, sees duplicate keys and turns {"__float__": ...} around.
template <typename Json>
class Builder {
 public:
  explicit Builder(DuplicateKeys duplicates) : duplicates_(duplicates) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(typename Json::number_integer_t value) { return add(value); }
  bool number_unsigned(typename Json::number_unsigned_t value) { return add(value); }
  bool number_float(typename Json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(typename Json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    Json& object = stack_.back().value;
    if (duplicates_ == DuplicateKeys::refuse && object.contains(name)) {
      refusal = fmt::format("the key \"{}\" occurs twice", name);
      return false;
    }
    stack_.back().key = std::move(name);
    return true;
  }

  bool end_object() {
    Json& object = stack_.back().value;
    if (object.size() == 1 && object.begin().key() == kFloatKey && object.begin()->is_string()) {
      constexpr double kInfinity = std::numeric_limits<double>::infinity();
      const auto& name = object.begin()->template get_ref<const std::string&>();
      if (name == "Infinity") {
        object = kInfinity;
      } else if (name == "-Infinity") {
        object = -kInfinity;
      } else if (name == "NaN") {
        object = std::numeric_limits<double>::quiet_NaN();
      }
    }
    return close();
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
    offset = position > 0 ? position - 1 : 0;
    refusal = error.what();
    // Keep what stands behind "[json.exception...] parse error at line 1, column 2: ".
    for (const std::string_view prefix : {"] ", ": "}) {
      const auto at = refusal.find(prefix);
      const bool has_place = prefix == "] " || refusal.starts_with("parse error");
      if (at != std::string::npos && has_place) refusal.erase(0, at + prefix.size());
    }
    return false;
  }

  Json root;
  std::string refusal;                     ///< why parsing stopped
  std::size_t offset = std::string::npos;  ///< where, in bytes; npos: not known

 private:
  struct Level {
    Json value;
    std::string key;  ///< of the member being read
  };

  bool add(Json value) {
    if (stack_.empty()) {
      root = std::move(value);
    } else if (stack_.back().value.is_array()) {
      stack_.back().value.push_back(std::move(value));
    } else {
      stack_.back().value[stack_.back().key] = std::move(value);
    }
    return true;
  }
  bool open(Json empty) {
    if (stack_.size() == kMaxDepth) {
      refusal = fmt::format("nested deeper than {} levels", kMaxDepth);
      return false;
    }
    stack_.push_back({std::move(empty), {}});
    return true;
  }
  bool close() {
    Json value = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(value));
  }

  DuplicateKeys duplicates_;
  std::vector<Level> stack_;
};

/// "LINE:COLUMN", both from 1, columns in code points.
std::string place(std::string_view text, std::size_t offset) {
  offset = std::min(offset, text.size());
  std::size_t line = 1, column = 1;
  for (const char c : text.substr(0, offset)) {
    if (c == '\n') {
      ++line;
      column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) {
      ++column;
    }
  }
  return fmt::format("{}:{}", line, column);
}

/// Wraps the numbers that JSON has not. Depth is bounded by what parse_json() lets in.
Json wrapped(const Json& json) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    const auto number = json.get<double>();
    return {{std::string(kFloatKey), std::isnan(number) ? "NaN"
                                     : number > 0       ? "Infinity"
                                                        : "-Infinity"}};
  }
  Json result = json;
  if (json.is_structured()) {
    for (Json& child : result) child = wrapped(child);
  }
  return result;
}

template <typename Json>
Json parse(std::string_view text, const std::string& where, DuplicateKeys duplicates) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const Rewritten rewritten = rewrite_literals(text);
  const std::string_view input = rewritten.edits.empty() ? text : rewritten.text;
  Builder<Json> builder(duplicates);
  if (Json::sax_parse(input.begin(), input.end(), &builder)) return std::move(builder.root);
  if (builder.offset == std::string::npos) {
    fail(ErrorCode::bad_data, "{}: invalid JSON: {}", where, printable(builder.refusal));
  }
  fail(ErrorCode::bad_data, "{}:{}: invalid JSON: {}", where,
       place(text, rewritten.original_offset(builder.offset)), printable(builder.refusal));
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, DuplicateKeys duplicates) {
  return parse<Json>(text, where, duplicates);
}

OrderedJson parse_ordered_json(std::string_view text, const std::string& where) {
  return parse<OrderedJson>(text, where, DuplicateKeys::keep_last);
}

std::string format_json(const Json& json) {
  return wrapped(json).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json read_json_file(const std::string& path) { return parse_json(read_file(path), path); }

}  // namespace krait
