#include "io/torch_pickle.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/memory.h"
#include "core/printable.h"
#include "io/mapped_tensors.h"
#include "io/pickle_machine.h"
#include "io/zip_directory.h"

namespace krait {
namespace {

using Kind = PickleValue::Kind;
using Archive = std::map<std::string, ZipEntry, std::less<>>;

// A checkpoint of a thousand tensors has a data.pkl of about 150 KB.
constexpr std::size_t kMaxPickle = std::size_t{1} << 22;

constexpr std::array<std::pair<std::string_view, DType>, 10> kStorages{{
    {"torch.FloatStorage", DType::f32},
    {"torch.HalfStorage", DType::f16},
    {"torch.BFloat16Storage", DType::bf16},
    {"torch.DoubleStorage", DType::f64},
    {"torch.CharStorage", DType::i8},
    {"torch.ByteStorage", DType::u8},
    {"torch.ShortStorage", DType::i16},
    {"torch.IntStorage", DType::i32},
    {"torch.LongStorage", DType::i64},
    {"torch.BoolStorage", DType::boolean},
}};

/// One archive and its pickle, while tensors are looked up in it.
struct Reader {
  const Archive& archive;
  const std::string& root;  ///< "archive/"
  const Pickle& pickle;
  const std::string& where;

  const std::vector<PickleValue>& items(const PickleValue& value) const {
    return pickle.items[value.items];
  }

  /// The sizes or strides of a tensor: up to four integers of at least 0.
  std::vector<std::int64_t> dims(const PickleValue& value, const std::string& place,
                                 std::string_view what) const {
    check(value.kind == Kind::tuple, ErrorCode::bad_data, "{}: expected a tuple of {}, got a {}",
          place, what, name_of(value.kind));
    check(items(value).size() <= Shape::kMaxRank, ErrorCode::bad_data,
          "{}: expected at most {} {}, got {}", place, Shape::kMaxRank, what, items(value).size());
    std::vector<std::int64_t> numbers;
    for (const PickleValue& item : items(value)) {
      check(item.kind == Kind::integer && item.integer >= 0, ErrorCode::bad_data,
            "{}: expected {} of at least 0, got {}", place, what,
            item.kind == Kind::integer ? std::to_string(item.integer)
                                       : std::string(name_of(item.kind)));
      numbers.push_back(item.integer);
    }
    return numbers;
  }

  struct Storage {
    DType dtype;
    const std::byte* data;
    std::int64_t elements;
  };

  Storage storage(const PickleValue& value, const std::string& place) const {
    check(value.kind == Kind::storage, ErrorCode::bad_data, "{}: expected a storage, got a {}",
          place, name_of(value.kind));
    const auto& id = items(value);
    std::optional<DType> dtype;
    for (const auto& [name, known] : kStorages) {
      if (name == id[1].text) dtype = known;
    }
    check(dtype.has_value(), ErrorCode::bad_data, "{}: {} is no storage class", place, id[1].text);
    const auto entry = archive.find(fmt::format("{}data/{}", root, id[2].text));
    check(entry != archive.end(), ErrorCode::bad_data, "{}: the archive has no storage data/{}",
          place, printable(id[2].text));
    const std::int64_t elements = id[4].integer;
    const std::size_t held = entry->second.size / size_of(*dtype);
    check(elements >= 0 && static_cast<std::uint64_t>(elements) <= held, ErrorCode::bad_data,
          "{}: expected {} elements of {} in storage data/{}, got {} bytes", place, elements,
          name_of(*dtype), printable(id[2].text), entry->second.size);
    return {*dtype, entry->second.data, elements};
  }

  MappedTensor tensor(std::string_view name, const PickleValue& value) const {
    const std::string place = fmt::format("{}: tensor {}", where, printable(name));
    const auto& arguments = items(value);  // storage, offset, sizes, strides, ...
    const Storage from = storage(arguments[0], place);
    const std::vector<std::int64_t> sizes = dims(arguments[2], place, "dimensions");
    std::vector<std::int64_t> strides = dims(arguments[3], place, "strides");
    check(sizes.size() == strides.size(), ErrorCode::bad_data, "{}: expected {} strides, got {}",
          place, sizes.size(), strides.size());
    const PickleValue& offset = arguments[1];
    check(offset.kind == Kind::integer && offset.integer >= 0 && offset.integer <= from.elements,
          ErrorCode::bad_data,
          "{}: expected an offset within the {} elements of its storage, got {}", place,
          from.elements, offset.integer);

    // The largest index must be inside. A tensor with more elements than its storage (expand()
    // makes such) is refused: its copy could be of any size.
    std::int64_t last = offset.integer, elements = 1, contiguous = 1;
    bool overflow = false, is_contiguous = true;
    for (std::size_t i = sizes.size(); i-- > 0;) {
      if (sizes[i] > 1) {
        std::int64_t reach = 0;
        overflow |= __builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) ||
                    __builtin_add_overflow(last, reach, &last);
        is_contiguous = is_contiguous && strides[i] == contiguous;
      }
      overflow |= __builtin_mul_overflow(elements, sizes[i], &elements);
      contiguous = elements;
    }
    const bool inside = elements == 0 || (last < from.elements && elements <= from.elements);
    check(!overflow && inside, ErrorCode::bad_data,
          "{}: the shape {} does not fit into the {} elements of its storage at offset {}", place,
          Shape(sizes).str(), from.elements, offset.integer);
    if (is_contiguous || elements == 0) strides.clear();
    return {{std::string(name), from.dtype, Shape(sizes)},
            from.data + static_cast<std::size_t>(offset.integer) * size_of(from.dtype),
            std::move(strides)};
  }

  std::vector<MappedTensor> tensors_of(const PickleValue& dict) const {
    std::map<std::string_view, const PickleValue*> values;  // a later key replaces an earlier one
    const auto& pairs = items(dict);
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (pairs[i].kind == Kind::text) values[pairs[i].text] = &pairs[i + 1];
    }
    std::vector<MappedTensor> tensors;
    for (const auto& [name, value] : values) {
      if (value->kind == Kind::tensor) tensors.push_back(tensor(name, *value));
    }
    return tensors;
  }

  /// The tensors of the outermost dict, or of the one that it holds as state_dict or model.
  std::vector<MappedTensor> tensors() const {
    check(pickle.root.kind == Kind::dict, ErrorCode::bad_data,
          "{}: expected a dict of tensors, got a {}", where, name_of(pickle.root.kind));
    std::vector<MappedTensor> found = tensors_of(pickle.root);
    const auto& pairs = items(pickle.root);
    for (std::size_t i = 0; i + 1 < pairs.size() && found.empty(); i += 2) {
      const bool is_nested = pairs[i].kind == Kind::text && pairs[i + 1].kind == Kind::dict &&
                             (pairs[i].text == "state_dict" || pairs[i].text == "model");
      if (is_nested) found = tensors_of(pairs[i + 1]);
    }
    check(!found.empty(), ErrorCode::bad_data, "{}: there is no tensor in the file", where);
    return found;
  }
};

/// The directory inside the archive that holds data.pkl, with its "/".
std::string find_root(const Archive& archive, const std::string& where) {
  constexpr std::string_view kPickle = "data.pkl";
  std::optional<std::string> root;
  for (const auto& [name, entry] : archive) {
    const auto slash = name.find('/');
    if (slash == std::string::npos || std::string_view(name).substr(slash + 1) != kPickle) continue;
    check(!root.has_value(), ErrorCode::bad_data, "{}: the archive has two data.pkl", where);
    root = name.substr(0, slash + 1);
  }
  check(root.has_value(), ErrorCode::bad_data,
        "{}: not a PyTorch checkpoint: the archive has no data.pkl", where);
  check(!archive.contains(*root + "constants.pkl"), ErrorCode::unsupported,
        "{}: a TorchScript archive is not supported, expected one written by torch.save", where);
  return *root;
}

std::vector<MappedTensor> parse(const std::byte* data, std::size_t size, const std::string& where) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(!bytes.starts_with('\x80'), ErrorCode::unsupported,
        "{}: a checkpoint in the format before PyTorch 1.6 is not supported: save it again with "
        "torch.save",
        where);
  const Archive archive = read_zip_directory(data, size, where);
  const std::string root = find_root(archive, where);
  if (const auto order = archive.find(root + "byteorder"); order != archive.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data),
                                order->second.size);
    check(text == "little", ErrorCode::unsupported, "{}: expected byte order little, got {}", where,
          printable(text));
  }
  const ZipEntry& entry = archive.find(root + "data.pkl")->second;
  check(entry.size <= kMaxPickle, ErrorCode::bad_data,
        "{}: data.pkl has {} bytes, at most {} are allowed", where, entry.size, kMaxPickle);
  const Pickle pickle = read_pickle({reinterpret_cast<const char*>(entry.data), entry.size}, where);
  return Reader{archive, root, pickle, where}.tensors();
}

}  // namespace

std::shared_ptr<TensorSource> open_torch_pickle(const std::string& path) {
  auto file = MappedFile::open(path);
  std::vector<MappedTensor> tensors = parse(file->data(), file->size(), path);
  return std::make_shared<MappedTensors>(std::move(tensors), std::move(file), path);
}

void validate_torch_pickle(const std::byte* data, std::size_t size, const std::string& where) {
  const MappedTensors source(parse(data, size, where), nullptr, where);
  for (const TensorInfo& info : source.list()) source.get(info.name);
}

}  // namespace krait
