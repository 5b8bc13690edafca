// The filter tojson: json.dumps of Python, with the arguments that transformers gives it.
#include <algorithm>
#include <cmath>

#include "text/jinja_library.h"
#include "text/jinja_text.h"

namespace krait::jinja {
namespace {

class Writer {
 public:
  Writer(Budget& budget, const Arguments& arguments) : budget_(budget) {
    const auto given =
        bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
    ascii_ = given[0] != nullptr && truth(*given[0]);
    sorted_ = given[3] != nullptr && truth(*given[3]);
    if (given[1] != nullptr && !given[1]->is_none()) {
      pretty_ = true;
      if (const std::string* space = given[1]->text()) {
        indent_ = *space;
      } else {
        const auto width = std::max<std::int64_t>(0, integer(*given[1], "the indent of tojson"));
        budget.charge_text(static_cast<std::size_t>(width));
        indent_.assign(static_cast<std::size_t>(width), ' ');
      }
    }
    if (given[2] == nullptr || given[2]->is_none()) {
      if (pretty_) between_.pop_back();
    } else {
      const std::vector<Value> both = iterate(budget, *given[2]);
      if (both.size() != 2 || both[0].text() == nullptr || both[1].text() == nullptr) {
        raise("the separators of tojson must be two texts");
      }
      between_ = *both[0].text();
      colon_ = *both[1].text();
    }
  }

  std::string run(const Value& value) {
    write(value, 1);
    budget_.charge_text(out_.size());
    return std::move(out_);
  }

 private:
  void line(std::size_t depth) {
    if (!pretty_) return;
    out_ += '\n';
    budget_.charge(1 + depth * indent_.size() / 16);
    for (std::size_t i = 0; i < depth; ++i) out_ += indent_;
    if (out_.size() > Budget::kMaxText) budget_.charge_text(out_.size());
  }

  static std::string number_text(const Value& value) {
    if (const auto* real = value.get<double>()) {
      if (std::isnan(*real)) return "NaN";
      return std::isinf(*real) ? *real > 0 ? "Infinity" : "-Infinity" : format_float(*real);
    }
    return std::to_string(*value.get<std::int64_t>());
  }

  /// true, false, null or a number; empty for anything else.
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const auto* boolean = value.get<bool>()) return *boolean ? "true" : "false";
    return number(value) ? number_text(value) : std::string();
  }

  void write_text(const std::string& text) {
    budget_.charge_text(6 * text.size());
    out_ += json_quoted(text, ascii_);
    if (out_.size() > Budget::kMaxText) budget_.charge_text(out_.size());
  }

  template <typename Items, typename Each>
  void write_items(const Items& items, char open, char close, std::size_t depth, const Each& each) {
    out_ += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += between_;
      first = false;
      line(depth);
      each(item);
    }
    if (!first) line(depth - 1);
    out_ += close;
  }

  void write(const Value& value, std::size_t depth) {
    budget_.charge();
    if (const std::string* text = value.text()) return write_text(*text);
    if (const std::string plain = scalar(value); !plain.empty()) {
      out_ += plain;
      return;
    }
    const auto* sequence = value.get<std::shared_ptr<Sequence>>();
    if (sequence != nullptr && (*sequence)->kind <= Sequence::Kind::tuple) {
      return write_items((*sequence)->items, '[', ']', depth,
                         [&](const Value& item) { write(item, depth + 1); });
    }
    const auto* dict = value.get<std::shared_ptr<const Dict>>();
    if (dict == nullptr) raise("tojson cannot write a {}", type_name(value));
    auto entries = (*dict)->entries;
    budget_.charge(entries.size());
    if (sorted_) {
      std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
        return ordered(budget_, "<", a.first, b.first);
      });
    }
    write_items(entries, '{', '}', depth, [&](const auto& entry) {
      if (const std::string* key = entry.first.text()) {
        write_text(*key);
      } else {
        const std::string plain = scalar(entry.first);
        if (plain.empty()) raise("tojson cannot write a key that is a {}", type_name(entry.first));
        out_ += '"' + plain + '"';
      }
      out_ += colon_;
      write(entry.second, depth + 1);
    });
  }

  Budget& budget_;
  bool ascii_ = false, sorted_ = false, pretty_ = false;
  std::string indent_, between_ = ", ", colon_ = ": ", out_;
};

}  // namespace

Value to_json(Budget& budget, const Value& value, const Arguments& arguments) {
  return Writer(budget, arguments).run(value);
}

}  // namespace krait::jinja
