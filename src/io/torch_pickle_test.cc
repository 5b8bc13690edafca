#include "io/torch_pickle.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/float16.h"
#include "io/file.h"
#include "io/test_support.h"

namespace krait {
namespace {

// The files and the program that made them: tests/golden/pickle/make_fixtures.py.
std::string fixture(const std::string& name) {
  return std::string(KRAIT_SOURCE_DIR) + "/tests/golden/pickle/" + name + ".bin";
}

void expect_refused(const std::string& name, ErrorCode code,
                    std::initializer_list<std::string> parts) {
  SCOPED_TRACE(name);
  expect_error([&] { open_torch_pickle(fixture(name)); }, code, parts);
}

double element(const Tensor& tensor, std::size_t i) {
  switch (tensor.dtype()) {
    case DType::f32:
      return tensor.as<float>()[i];
    case DType::f16:
      return f16_to_f32(tensor.as<std::uint16_t>()[i]);
    case DType::bf16:
      return bf16_to_f32(tensor.as<std::uint16_t>()[i]);
    case DType::f64:
      return tensor.as<double>()[i];
    case DType::i8:
      return tensor.as<std::int8_t>()[i];
    case DType::u8:
    case DType::boolean:
      return tensor.as<std::uint8_t>()[i];
    case DType::i16:
      return tensor.as<std::int16_t>()[i];
    case DType::i32:
      return tensor.as<std::int32_t>()[i];
    case DType::i64:
      return static_cast<double>(tensor.as<std::int64_t>()[i]);
  }
  return -1e9;
}

void expect_counting(const TensorSource& source, const std::string& name, const Shape& shape) {
  SCOPED_TRACE(name);
  const Tensor tensor = source.get(name);
  ASSERT_EQ(tensor.shape(), shape);
  for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.elements()); ++i) {
    const double expected = tensor.dtype() == DType::boolean ? static_cast<double>(i % 2)
                            : tensor.dtype() == DType::u8    ? static_cast<double>(i % 7)
                                                             : static_cast<double>(i % 7) - 3;
    EXPECT_EQ(element(tensor, i), expected) << i;
  }
}

void expect_state(const TensorSource& source) {
  EXPECT_EQ(source.list().size(), 19u);
  for (const auto& [name, dtype] :
       std::vector<std::pair<std::string, DType>>{{"float32", DType::f32},
                                                  {"float16", DType::f16},
                                                  {"bfloat16", DType::bf16},
                                                  {"float64", DType::f64},
                                                  {"int8", DType::i8},
                                                  {"uint8", DType::u8},
                                                  {"int16", DType::i16},
                                                  {"int32", DType::i32},
                                                  {"int64", DType::i64},
                                                  {"bool", DType::boolean}}) {
    expect_counting(source, "dtype." + name, {3, 5});
    EXPECT_EQ(source.get("dtype." + name).dtype(), dtype);
  }
  expect_counting(source, "scalar", {});
  expect_counting(source, "empty", {0, 4});
  expect_counting(source, "rank4", {2, 3, 1, 5});
  expect_counting(source, "tied.a", {2, 2});
  expect_counting(source, "tied.b", {2, 2});
  expect_counting(source, "parameter", {2, 3});
  EXPECT_FALSE(source.contains("not_a_tensor"));

  const Tensor transposed = source.get("transposed");
  ASSERT_EQ(transposed.shape(), (Shape{6, 4}));
  const Tensor rows = source.get("rows");
  ASSERT_EQ(rows.shape(), (Shape{4, 6}));
  const Tensor columns = source.get("columns");
  ASSERT_EQ(columns.shape(), (Shape{10, 2}));
  for (std::size_t i = 0; i < 6; ++i) {
    for (std::size_t j = 0; j < 4; ++j) {
      EXPECT_EQ(element(transposed, i * 4 + j), static_cast<double>((j * 6 + i) % 7) - 3);
      EXPECT_EQ(element(rows, j * 6 + i), static_cast<double>(((j + 3) * 6 + i) % 7) - 3);
    }
  }
  for (std::size_t i = 0; i < 10; ++i) {
    for (std::size_t j = 0; j < 2; ++j) {
      EXPECT_EQ(element(columns, i * 2 + j), static_cast<double>((i * 6 + 1 + 2 * j) % 7) - 3);
    }
  }
}

TEST(TorchPickle, ReadsWhatTorchSaves) {
  expect_state(*open_torch_pickle(fixture("good_ordered")));
  expect_state(*open_torch_pickle(fixture("good_protocol4")));
}

TEST(TorchPickle, ReadsNestedStateDicts) {
  for (const char* name : {"good_model", "good_state_dict"}) {
    const auto source = open_torch_pickle(fixture(name));
    ASSERT_EQ(source->list().size(), 1u);
    expect_counting(*source, "w", {2, 3});
    EXPECT_EQ(source->where(), fixture(name));
  }
}

TEST(TorchPickle, ContiguousTensorsAreBorrowed) {
  const auto source = open_torch_pickle(fixture("good_ordered"));
  EXPECT_EQ(source->get("tied.a").view().data, source->get("tied.b").view().data);
  EXPECT_NE(source->get("transposed").view().data, source->get("transposed").view().data);
  expect_error([&] { source->get("none"); }, ErrorCode::not_found, {"none", "good_ordered.bin"});
}

TEST(TorchPickle, MisalignedStoragesAreCopied) {
  for (const char* name : {"good_handmade", "good_zip64"}) {  // neither aligns its entries
    const auto source = open_torch_pickle(fixture(name));
    const Tensor w = source->get("w");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(w.view().data) % 4, 0u);
    for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(w.as<float>()[i], static_cast<float>(i));
  }
}

TEST(TorchPickleHostile, MaliciousGlobalsAreNamedAndNotExecuted) {
  const auto code = ErrorCode::unsupported;
  expect_refused("evil_system", code, {"evil_system.bin", "posix.system", "nothing was executed"});
  EXPECT_FALSE(std::filesystem::exists("/tmp/krait-owned"));
  expect_refused("evil_stack_global", code, {"posix.system", "nothing was executed"});
  expect_refused("evil_eval", code, {"__builtin__.eval", "nothing was executed"});
  expect_refused("evil_inst", code, {"os.system", "nothing was executed"});
  expect_refused("evil_getattr", code, {"torch._utils._rebuild_tensor_v2.__globals__"});
  expect_refused("complex", code, {"torch.ComplexFloatStorage"});
}

TEST(TorchPickleHostile, DeepNestingAndCyclesCostNoStack) {
  expect_refused("deep_nesting", ErrorCode::bad_data, {"expected a dict of tensors, got a list"});
  expect_refused("deep_marks", ErrorCode::bad_data, {"expected one value at the end"});
  expect_refused("cycle", ErrorCode::bad_data, {"there is no tensor"});
}

TEST(TorchPickleHostile, TruncatedArchives) {
  expect_refused("truncated", ErrorCode::bad_data, {"not a zip archive, or truncated"});
  expect_refused("truncated_end", ErrorCode::bad_data, {"not a zip archive, or truncated"});
  expect_refused("zip64_end_outside", ErrorCode::bad_data, {"zip64 end record", "truncated"});
  expect_refused("no_zip", ErrorCode::bad_data, {"not a zip archive"});
  expect_refused("truncated_pickle", ErrorCode::bad_data, {"the pickle is truncated"});
}

TEST(TorchPickleHostile, EveryTruncationIsAnError) {
  const std::string whole = read_file(fixture("good_model"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);
    EXPECT_THROW(validate_torch_pickle(reinterpret_cast<const std::byte*>(part.data()), size, "x"),
                 Error)
        << size;
  }
}

TEST(TorchPickleHostile, UnsupportedArchives) {
  const auto code = ErrorCode::unsupported;
  expect_refused("compressed", code, {"archive/data.pkl is compressed (method 8)"});
  expect_refused("big_endian", code, {"byte order little, got big"});
  expect_refused("torchscript", code, {"TorchScript"});
  expect_refused("old_format", code, {"before PyTorch 1.6"});
}

TEST(TorchPickleHostile, NumbersOutOfRange) {
  const auto code = ErrorCode::bad_data;
  expect_refused("huge_offset", code, {"tensor w", "6 elements", "4611686018427387904"});
  expect_refused("negative_offset", code, {"tensor w", "-1"});
  expect_refused("huge_stride", code, {"tensor w", "[2, 3] does not fit into the 6 elements"});
  expect_refused("negative_stride", code, {"tensor w", "strides of at least 0, got -3"});
  expect_refused("negative_size", code, {"tensor w", "dimensions of at least 0, got -2"});
  expect_refused("huge_size", code, {"tensor w", "does not fit"});
  expect_refused("expanded", code, {"tensor w", "does not fit"});
  expect_refused("rank5", code, {"tensor w", "at most 4 dimensions, got 5"});
  expect_refused("stride_count", code, {"tensor w", "expected 2 strides, got 1"});
  expect_refused("short_storage", code, {"tensor w", "expected 6 elements of F32", "got 23 bytes"});
  expect_refused("missing_storage", code, {"tensor w", "no storage data/7"});
  expect_refused("storage_outside", code, {"tensor w", "no storage data/../../secret"});
}

TEST(TorchPickleHostile, NothingToRead) {
  const auto code = ErrorCode::bad_data;
  expect_refused("no_tensor", code, {"there is no tensor"});
  expect_refused("not_a_dict", code, {"expected a dict of tensors, got a list"});
  expect_refused("no_pickle", code, {"no data.pkl"});
  expect_refused("empty_stack", code, {"expected 2 values, got 0"});
  expect_refused("bad_memo", code, {"memo 5 was never set"});
  expect_error([] { open_torch_pickle("/nowhere/x.bin"); }, ErrorCode::not_found,
               {"/nowhere/x.bin"});
}

}  // namespace
}  // namespace krait
