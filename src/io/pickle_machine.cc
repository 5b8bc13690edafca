#include "io/pickle_machine.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

using Kind = PickleValue::Kind;

struct KnownGlobal {
  std::string_view module, name, full;
};
constexpr std::array<KnownGlobal, 13> kGlobals{{
    {"torch._utils", "_rebuild_tensor_v2", "torch._utils._rebuild_tensor_v2"},
    {"torch._utils", "_rebuild_parameter", "torch._utils._rebuild_parameter"},
    {"collections", "OrderedDict", "collections.OrderedDict"},
    {"torch", "FloatStorage", "torch.FloatStorage"},
    {"torch", "HalfStorage", "torch.HalfStorage"},
    {"torch", "BFloat16Storage", "torch.BFloat16Storage"},
    {"torch", "DoubleStorage", "torch.DoubleStorage"},
    {"torch", "LongStorage", "torch.LongStorage"},
    {"torch", "IntStorage", "torch.IntStorage"},
    {"torch", "ShortStorage", "torch.ShortStorage"},
    {"torch", "CharStorage", "torch.CharStorage"},
    {"torch", "ByteStorage", "torch.ByteStorage"},
    {"torch", "BoolStorage", "torch.BoolStorage"},
}};

class Machine {
 public:
  Machine(std::string_view data, const std::string& where) : data_(data), where_(where) {}

  Pickle run() {
    while (step()) {
    }
    check(marks_.empty() && stack_.size() == 1, ErrorCode::bad_data,
          "{}: byte {}: expected one value at the end, got {}", where_, at_, stack_.size());
    pickle_.root = stack_.back();
    return std::move(pickle_);
  }

 private:
  // --- reading ---
  std::string_view take(std::size_t bytes) {
    check(bytes <= data_.size() - at_, ErrorCode::bad_data,
          "{}: the pickle is truncated: expected {} bytes at byte {}, got {}", where_, bytes, at_,
          data_.size() - at_);
    const std::string_view piece = data_.substr(at_, bytes);
    at_ += bytes;
    return piece;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const auto end = data_.find('\n', at_);
    check(end != std::string_view::npos, ErrorCode::bad_data,
          "{}: the pickle is truncated: expected the end of a line after byte {}", where_, at_);
    const std::string_view text = data_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }

  // --- stack ---
  void push(PickleValue value) { stack_.push_back(value); }
  void push_integer(Kind kind, std::int64_t value) { push({.kind = kind, .integer = value}); }
  void push_real(std::uint64_t big_endian) {
    push({.kind = Kind::real, .real = std::bit_cast<double>(__builtin_bswap64(big_endian))});
  }
  void push_text(std::string_view text) { push({.kind = Kind::text, .text = text}); }
  void push_items(Kind kind, std::vector<PickleValue> items) {
    push({.kind = kind, .items = pickle_.items.size()});
    pickle_.items.push_back(std::move(items));
  }
  /// Values that the current opcode may take: those above the topmost mark.
  std::size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  PickleValue& top() {
    check(available() > 0, ErrorCode::bad_data, "{}: byte {}: the pickle's stack is empty", where_,
          at_);
    return stack_.back();
  }
  PickleValue pop() {
    const PickleValue value = top();
    stack_.pop_back();
    return value;
  }
  PickleValue pop(Kind kind) {
    const PickleValue value = pop();
    check(value.kind == kind, ErrorCode::bad_data, "{}: byte {}: expected a {}, got a {}", where_,
          at_, name_of(kind), name_of(value.kind));
    return value;
  }
  std::vector<PickleValue> pop_count(std::size_t count) {
    check(available() >= count, ErrorCode::bad_data, "{}: byte {}: expected {} values, got {}",
          where_, at_, count, available());
    const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<PickleValue> values(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return values;
  }
  std::vector<PickleValue> pop_to_mark() {
    check(!marks_.empty(), ErrorCode::bad_data, "{}: byte {}: the pickle has no mark", where_, at_);
    std::vector<PickleValue> values = pop_count(available());
    marks_.pop_back();
    return values;
  }
  /// Adds values to the list or dict that is on top.
  void extend(Kind kind, const std::vector<PickleValue>& values) {
    const PickleValue container = pop(kind);
    push(container);
    check(kind != Kind::dict || values.size() % 2 == 0, ErrorCode::bad_data,
          "{}: byte {}: a dict key has no value", where_, at_);
    auto& items = pickle_.items[container.items];
    items.insert(items.end(), values.begin(), values.end());
  }

  // --- memo ---
  void put(std::uint64_t index) {
    // Picklers number values as they come; anything larger is no pickler's work.
    check(index < data_.size(), ErrorCode::bad_data, "{}: byte {}: memo index {} is out of range",
          where_, at_, index);
    memo_[index] = top();
  }
  void get(std::uint64_t index) {
    const auto found = memo_.find(index);
    check(found != memo_.end(), ErrorCode::bad_data, "{}: byte {}: memo {} was never set", where_,
          at_, index);
    push(found->second);
  }

  // --- the few things that look like calls ---
  void push_global(std::string_view module, std::string_view name) {
    for (const KnownGlobal& known : kGlobals) {
      if (known.module == module && known.name == name) {
        return push({.kind = Kind::global, .text = known.full});
      }
    }
    fail(ErrorCode::unsupported,
         "{}: the pickle names the global {}.{}, which is refused: only tensors are read, nothing "
         "was executed",
         where_, printable(module, 100), printable(name, 100));
  }
  void global_lines() {
    const std::string_view module = line();
    push_global(module, line());
  }
  void stack_global() {
    const PickleValue name = pop(Kind::text);
    push_global(pop(Kind::text).text, name.text);
  }
  void reduce() {
    const PickleValue arguments = pop(Kind::tuple);
    const PickleValue callee = pop(Kind::global);
    const auto& items = pickle_.items[arguments.items];
    if (callee.text == "torch._utils._rebuild_tensor_v2") {
      check(items.size() >= 6 && items.size() <= 7, ErrorCode::bad_data,
            "{}: byte {}: expected 6 or 7 arguments of _rebuild_tensor_v2, got {}", where_, at_,
            items.size());
      push({.kind = Kind::tensor, .items = arguments.items});
    } else if (callee.text == "torch._utils._rebuild_parameter") {
      check(!items.empty() && items[0].kind == Kind::tensor, ErrorCode::bad_data,
            "{}: byte {}: expected a tensor for _rebuild_parameter", where_, at_);
      push(items[0]);
    } else if (callee.text == "collections.OrderedDict") {
      check(items.empty(), ErrorCode::unsupported,
            "{}: byte {}: an OrderedDict made from arguments is not supported", where_, at_);
      push_items(Kind::dict, {});
    } else {
      fail(ErrorCode::bad_data, "{}: byte {}: {} is called as a function", where_, at_,
           callee.text);
    }
  }
  void persistent_id() {
    const PickleValue id = pop(Kind::tuple);
    const auto& items = pickle_.items[id.items];
    const bool is_storage = items.size() == 5 && items[0].kind == Kind::text &&
                            items[0].text == "storage" && items[1].kind == Kind::global &&
                            items[1].text.ends_with("Storage") && items[2].kind == Kind::text &&
                            items[4].kind == Kind::integer;
    check(is_storage, ErrorCode::bad_data,
          "{}: byte {}: expected a storage (name, class, key, location, elements)", where_, at_);
    push({.kind = Kind::storage, .items = id.items});
  }
  /// Attributes, e.g. the _metadata of a state_dict, are read and dropped.
  void build() {
    pop();
    push(pop(Kind::dict));
  }

  void push_long() {
    const std::size_t bytes = number<std::uint8_t>();
    const std::string_view digits = take(bytes);
    check(bytes <= 8, ErrorCode::bad_data, "{}: byte {}: an integer of {} bytes is too long",
          where_, at_, bytes);
    std::uint64_t value = 0;
    std::memcpy(&value, digits.data(), bytes);
    const bool negative = bytes > 0 && (static_cast<unsigned char>(digits.back()) & 0x80) != 0;
    if (negative && bytes < 8) value |= ~std::uint64_t{0} << (8 * bytes);
    push_integer(Kind::integer, static_cast<std::int64_t>(value));
  }

  void protocol(int version) const {
    check(version >= 2 && version <= 5, ErrorCode::unsupported,
          "{}: pickle protocol {} is not supported", where_, version);
  }
  [[noreturn]] void refuse(std::uint8_t opcode) const {
    fail(ErrorCode::unsupported,
         "{}: byte {}: the pickle opcode 0x{:02x} is not one that torch.save writes for tensors",
         where_, at_ - 1, opcode);
  }

  bool step();

  std::string_view data_;
  const std::string& where_;
  std::size_t at_ = 0;
  Pickle pickle_;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;  ///< stack heights
  std::unordered_map<std::uint64_t, PickleValue> memo_;
};

/// Executes one opcode (names as in Python's pickletools); false after STOP.
bool Machine::step() {
  const std::uint8_t opcode = number<std::uint8_t>();
  // clang-format off
  switch (opcode) {
    case 0x80: protocol(number<std::uint8_t>()); break;                     // PROTO
    case 0x95: number<std::uint64_t>(); break;                              // FRAME: only a hint
    case '.':  return false;                                                // STOP
    case '(':  marks_.push_back(stack_.size()); break;                      // MARK
    case 'N':  push({}); break;                                             // NONE
    case 0x88: push_integer(Kind::boolean, 1); break;                       // NEWTRUE
    case 0x89: push_integer(Kind::boolean, 0); break;                       // NEWFALSE
    case 'K':  push_integer(Kind::integer, number<std::uint8_t>()); break;  // BININT1
    case 'M':  push_integer(Kind::integer, number<std::uint16_t>()); break; // BININT2
    case 'J':  push_integer(Kind::integer, number<std::int32_t>()); break;  // BININT
    case 0x8a: push_long(); break;                                          // LONG1
    case 'G':  push_real(number<std::uint64_t>()); break;                   // BINFLOAT
    case 'X':  push_text(take(number<std::uint32_t>())); break;             // BINUNICODE
    case 0x8c: push_text(take(number<std::uint8_t>())); break;              // SHORT_BINUNICODE
    case 0x8d: push_text(take(number<std::uint64_t>())); break;             // BINUNICODE8
    case ')':  push_items(Kind::tuple, {}); break;                          // EMPTY_TUPLE
    case 't':  push_items(Kind::tuple, pop_to_mark()); break;               // TUPLE
    case 0x85: push_items(Kind::tuple, pop_count(1)); break;                // TUPLE1
    case 0x86: push_items(Kind::tuple, pop_count(2)); break;                // TUPLE2
    case 0x87: push_items(Kind::tuple, pop_count(3)); break;                // TUPLE3
    case ']':  push_items(Kind::list, {}); break;                           // EMPTY_LIST
    case 'a':  extend(Kind::list, pop_count(1)); break;                     // APPEND
    case 'e':  extend(Kind::list, pop_to_mark()); break;                    // APPENDS
    case '}':  push_items(Kind::dict, {}); break;                           // EMPTY_DICT
    case 's':  extend(Kind::dict, pop_count(2)); break;                     // SETITEM
    case 'u':  extend(Kind::dict, pop_to_mark()); break;                    // SETITEMS
    case 'q':  put(number<std::uint8_t>()); break;                          // BINPUT
    case 'r':  put(number<std::uint32_t>()); break;                         // LONG_BINPUT
    case 0x94: put(memo_.size()); break;                                    // MEMOIZE
    case 'h':  get(number<std::uint8_t>()); break;                          // BINGET
    case 'j':  get(number<std::uint32_t>()); break;                         // LONG_BINGET
    case 'c':  global_lines(); break;                                       // GLOBAL
    case 'i':  global_lines(); refuse(opcode); break;                       // INST
    case 0x93: stack_global(); break;                                       // STACK_GLOBAL
    case 'R':  reduce(); break;                                             // REDUCE
    case 'Q':  persistent_id(); break;                                      // BINPERSID
    case 'b':  build(); break;                                              // BUILD
    default:   refuse(opcode);
  }
  // clang-format on
  return true;
}

}  // namespace

std::string_view name_of(PickleValue::Kind kind) noexcept {
  constexpr std::array<std::string_view, 11> kNames{"None",   "bool",    "int",   "float",
                                                    "str",    "tuple",   "list",  "dict",
                                                    "global", "storage", "tensor"};
  return kNames[static_cast<std::size_t>(kind)];
}

Pickle read_pickle(std::string_view data, const std::string& where) {
  return Machine(data, where).run();
}

}  // namespace krait
