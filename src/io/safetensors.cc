#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/memory.h"
#include "core/printable.h"
#include "io/json.h"
#include "io/mapped_tensors.h"

namespace krait {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are read in place");

constexpr std::uint64_t kMaxHeader = 100'000'000;

struct Range {
  std::uint64_t begin, end;
  std::size_t tensor;  ///< index into Header::tensors
};

struct Header {
  std::vector<MappedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

std::string tensor_place(const std::string& where, std::string_view name) {
  return fmt::format("{}: tensor {}", where, printable(name));
}

TensorInfo parse_info(const std::string& name, const Json& entry, const std::string& place) {
  check(entry.is_object(), ErrorCode::bad_data, "{}: expected an object, got {}", place,
        entry.type_name());
  const auto dtype = entry.find("dtype");
  check(dtype != entry.end() && dtype->is_string(), ErrorCode::bad_data,
        "{}: expected a dtype name, got none", place);
  const std::string& dtype_name = dtype->get_ref<const std::string&>();
  const auto parsed = parse_dtype(dtype_name);
  check(parsed.has_value(), ErrorCode::unsupported,
        "{}: dtype {} is not supported, expected one of F32, F16, BF16, F64, I8, U8, I16, I32, "
        "I64, BOOL",
        place, printable(dtype_name));
  const auto shape = entry.find("shape");
  check(shape != entry.end() && shape->is_array(), ErrorCode::bad_data,
        "{}: expected a shape, got none", place);
  check(shape->size() <= Shape::kMaxRank, ErrorCode::bad_data,
        "{}: expected at most {} dimensions, got {}", place, Shape::kMaxRank, shape->size());
  std::array<std::int64_t, Shape::kMaxRank> dims{};
  for (std::size_t i = 0; i < shape->size(); ++i) {
    const Json& dim = (*shape)[i];
    check(dim.is_number_unsigned() && dim.get<std::uint64_t>() <= INT64_MAX, ErrorCode::bad_data,
          "{}: expected dimensions of at least 0, got {}", place, printable(dim.dump()));
    dims[i] = static_cast<std::int64_t>(dim.get<std::uint64_t>());
  }
  return {name, *parsed, Shape(std::span<const std::int64_t>(dims.data(), shape->size()))};
}

/// The entry's byte range, checked against its shape and the size of the data.
Range parse_range(const Json& entry, const TensorInfo& info, std::uint64_t data_size,
                  const std::string& place) {
  const auto offsets = entry.find("data_offsets");
  const bool are_two = offsets != entry.end() && offsets->is_array() && offsets->size() == 2 &&
                       (*offsets)[0].is_number_unsigned() && (*offsets)[1].is_number_unsigned();
  check(are_two, ErrorCode::bad_data, "{}: expected data_offsets [begin, end], got {}", place,
        offsets == entry.end() ? "none" : printable(offsets->dump()));
  const auto begin = (*offsets)[0].get<std::uint64_t>();
  const auto end = (*offsets)[1].get<std::uint64_t>();
  check(begin <= end && end <= data_size, ErrorCode::bad_data,
        "{}: expected offsets within the {} bytes of data, got [{}, {}]", place, data_size, begin,
        end);
  std::int64_t elements = 1;
  std::int64_t bytes = 0;
  bool overflow = false;
  for (int i = 0; i < info.shape.rank(); ++i) {
    overflow |= __builtin_mul_overflow(elements, info.shape[i], &elements);
  }
  overflow |=
      __builtin_mul_overflow(elements, static_cast<std::int64_t>(size_of(info.dtype)), &bytes);
  check(!overflow, ErrorCode::bad_data, "{}: the shape {} has more bytes than fit in 63 bits",
        place, info.shape.str());
  check(end - begin == static_cast<std::uint64_t>(bytes), ErrorCode::bad_data,
        "{}: expected {} bytes for {} {}, got {}", place, bytes, name_of(info.dtype),
        info.shape.str(), end - begin);
  return {begin, end, 0};
}

std::map<std::string, std::string> parse_metadata(const Json& entry, const std::string& where) {
  std::map<std::string, std::string> metadata;
  check(entry.is_object(), ErrorCode::bad_data, "{}: __metadata__ is {}, expected an object", where,
        entry.type_name());
  for (const auto& [key, value] : entry.items()) {
    check(value.is_string(), ErrorCode::bad_data, "{}: __metadata__ {} is {}, expected a string",
          where, printable(key), value.type_name());
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

/// Ranges must follow each other from 0 to the end of the data.
void check_layout(std::vector<Range> ranges, const Header& header, std::uint64_t data_size,
                  const std::string& where) {
  std::ranges::sort(ranges, [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t expected = 0;
  for (const Range& range : ranges) {
    const std::string& name = header.tensors[range.tensor].info.name;
    if (range.begin < expected) {
      fail(ErrorCode::bad_data, "{} overlaps another: it begins at byte {}, expected {}",
           tensor_place(where, name), range.begin, expected);
    }
    if (range.begin > expected) {
      fail(ErrorCode::bad_data, "{} begins at byte {}, expected {}: a hole of {} bytes",
           tensor_place(where, name), range.begin, expected, range.begin - expected);
    }
    expected = range.end;
  }
  check(expected == data_size, ErrorCode::bad_data,
        "{}: the header describes {} bytes of data, the file has {}", where, expected, data_size);
}

Header parse_header(const std::byte* data, std::size_t size, const std::string& where) {
  std::uint64_t length = 0;
  check(size >= sizeof length, ErrorCode::bad_data,
        "{}: expected a header of at least 8 bytes, the file has {}", where, size);
  std::memcpy(&length, data, sizeof length);
  check(length <= kMaxHeader, ErrorCode::bad_data,
        "{}: the header says it is {} bytes long, at most {} are allowed", where, length,
        kMaxHeader);
  check(length <= size - sizeof length, ErrorCode::bad_data,
        "{}: the header says it is {} bytes long, the file has {} after the length", where, length,
        size - sizeof length);
  const std::string_view text(reinterpret_cast<const char*>(data) + sizeof length, length);
  check(text.starts_with('{'), ErrorCode::bad_data, "{}: the header does not begin with '{{'",
        where);
  const Json json = parse_json(text, where, DuplicateKeys::refuse);
  check(json.is_object(), ErrorCode::bad_data, "{}: the header is not a JSON object", where);

  Header header;
  std::vector<Range> ranges;
  const std::byte* base = data + sizeof length + length;
  const std::uint64_t data_size = size - sizeof length - length;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      header.metadata = parse_metadata(entry, where);
      continue;
    }
    const std::string place = tensor_place(where, name);
    MappedTensor tensor{parse_info(name, entry, place), nullptr, {}};
    Range range = parse_range(entry, tensor.info, data_size, place);
    range.tensor = header.tensors.size();
    tensor.data = base + range.begin;
    ranges.push_back(range);
    header.tensors.push_back(std::move(tensor));
  }
  check_layout(std::move(ranges), header, data_size, where);
  return header;
}

}  // namespace

std::shared_ptr<TensorSource> open_safetensors(const std::string& path) {
  auto file = MappedFile::open(path);
  const std::span bytes(file->data(), file->size());
  return parse_safetensors(bytes, std::move(file), path);
}

std::shared_ptr<TensorSource> parse_safetensors(std::span<const std::byte> bytes,
                                                std::shared_ptr<const void> owner,
                                                const std::string& where) {
  Header header = parse_header(bytes.data(), bytes.size(), where);
  return std::make_shared<MappedTensors>(std::move(header.tensors), std::move(owner), where);
}

std::map<std::string, std::string> safetensors_metadata(const std::string& path) {
  const auto file = MappedFile::open(path);
  return parse_header(file->data(), file->size(), path).metadata;
}

void validate_safetensors(const std::byte* data, std::size_t size, const std::string& where) {
  const MappedTensors source(parse_header(data, size, where).tensors, nullptr, where);
  for (const TensorInfo& info : source.list()) source.get(info.name);
}

}  // namespace krait
