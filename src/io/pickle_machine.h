// A machine that reads the pickles of torch.save and does nothing else: it builds plain values, and
// calls nothing. The opcodes are those of protocol 2 that torch.save emits, with the strings,
// frames and globals of protocol 4. Values refer to each other by index and nothing here recurses,
// so neither deep nesting nor a cycle costs any stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace krait {

struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,  ///< integer
    integer,
    real,
    text,
    tuple,    ///< items
    list,     ///< items
    dict,     ///< items: key, value, key, value, ... in the order they were set
    global,   ///< text: "module.name", one of the known ones
    storage,  ///< items: of the persistent id ("storage", class, key, location, elements)
    tensor,   ///< items: arguments of torch._utils._rebuild_tensor_v2
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;
  double real = 0;
  std::string_view text = {};  ///< points into the pickle
  std::size_t items = 0;       ///< index into Pickle::items
};

std::string_view name_of(PickleValue::Kind kind) noexcept;

struct Pickle {
  PickleValue root;
  std::vector<std::vector<PickleValue>> items;
};

/// Interprets the pickle `data`, which must outlive the result. Errors name `where` and the offset:
/// bad_data, or unsupported for an opcode or a global that krait does not know.
Pickle read_pickle(std::string_view data, const std::string& where);

}  // namespace krait
