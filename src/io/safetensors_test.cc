#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstring>
#include <numeric>

#include "io/file.h"
#include "io/test_support.h"

namespace krait {
namespace {

/// A file image: header length, header, data bytes 0, 1, 2, ...
std::string image(const std::string& header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (std::size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i);
  return bytes;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  std::uint64_t begin, std::uint64_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

void expect_refused(const std::string& bytes, ErrorCode code,
                    std::initializer_list<std::string> parts) {
  SCOPED_TRACE(bytes.substr(0, 100));
  expect_error(
      [&] {
        validate_safetensors(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size(),
                             "model.safetensors");
      },
      code, parts);
}

class Safetensors : public testing::Test {
 protected:
  std::shared_ptr<TensorSource> open(const std::string& bytes) {
    write_file_atomic(directory_ / "model.safetensors", bytes);
    return open_safetensors(directory_ / "model.safetensors");
  }
  TemporaryDirectory directory_;
};

TEST_F(Safetensors, ReadsTensorsOfEveryKind) {
  const auto source = open(image(
      "{\"__metadata__\":{\"format\":\"pt\"}," + entry("a", "F32", "[2,3]", 0, 24) + "," +
          entry("empty", "I64", "[0,5]", 24, 24) + "," + entry("scalar", "BF16", "[]", 24, 26) +
          "," + entry("mask", "BOOL", "[1,1,2,3]", 26, 32) + "}   ",
      32));
  const auto infos = source->list();
  ASSERT_EQ(infos.size(), 4u);
  EXPECT_EQ(infos[0].name, "a");
  EXPECT_EQ(infos[0].shape, (Shape{2, 3}));
  EXPECT_EQ(infos[3].name, "scalar");
  EXPECT_EQ(infos[3].shape.rank(), 0);
  EXPECT_TRUE(source->contains("empty"));
  EXPECT_FALSE(source->contains("b"));
  EXPECT_EQ(source->get("empty").elements(), 0);
  EXPECT_EQ(source->get("scalar").as<std::uint16_t>()[0], 0x1918);
  EXPECT_EQ(source->get("mask").as<std::uint8_t>()[5], 31);
  EXPECT_EQ(source->where(), directory_ / "model.safetensors");
  EXPECT_EQ(safetensors_metadata(directory_ / "model.safetensors").at("format"), "pt");
  expect_error([&] { source->get("b"); }, ErrorCode::not_found, {"tensor b", "model.safetensors"});
}

TEST_F(Safetensors, MisalignedTensorsAreCopiedAndAlignedOnesBorrowed) {
  for (std::size_t padding = 0; padding < 8; ++padding) {  // moves the data's begin
    const auto source =
        open(image("{" + entry("byte", "U8", "[3]", 0, 3) + "," + entry("x", "F32", "[2]", 3, 11) +
                       "}" + std::string(padding, ' '),
                   11));
    const Tensor first = source->get("x");
    const auto address = reinterpret_cast<std::uintptr_t>(first.view().data);
    EXPECT_EQ(address % 4, 0u);
    const unsigned char expected[8] = {3, 4, 5, 6, 7, 8, 9, 10};
    EXPECT_EQ(std::memcmp(first.view().data, expected, 8), 0);
    const Tensor byte = source->get("byte");
    EXPECT_EQ(byte.view().data, source->get("byte").view().data);
  }
}

TEST_F(Safetensors, TensorsOutliveTheirSource) {
  Tensor tensor;
  {
    const auto source = open(image("{" + entry("x", "U8", "[4]", 0, 4) + "}", 4));
    tensor = source->get("x");
  }
  EXPECT_EQ(tensor.as<std::uint8_t>()[3], 3);
}

TEST(SafetensorsHostile, TruncatedFile) {
  expect_refused(image("{" + entry("x", "F32", "[4]", 0, 16) + "}", 15), ErrorCode::bad_data,
                 {"model.safetensors", "tensor x", "15 bytes of data", "[0, 16]"});
  expect_refused(std::string("\x10\0\0\0", 4), ErrorCode::bad_data, {"at least 8 bytes", "has 4"});
  expect_refused(image("{}", 0).substr(0, 9), ErrorCode::bad_data, {"2 bytes long", "has 1"});
}

TEST(SafetensorsHostile, HeaderLengthBeyondTheFileOrTheLimit) {
  std::string bytes = image("{}", 0);
  bytes[1] = 1;
  expect_refused(bytes, ErrorCode::bad_data, {"258 bytes long", "the file has 2"});
  bytes[7] = '\x7f';
  expect_refused(bytes, ErrorCode::bad_data, {"at most 100000000"});
}

TEST(SafetensorsHostile, OverlappingTensors) {
  expect_refused(
      image("{" + entry("a", "U8", "[4]", 0, 4) + "," + entry("b", "U8", "[4]", 3, 7) + "}", 7),
      ErrorCode::bad_data, {"tensor b", "overlaps", "byte 3", "expected 4"});
  expect_refused(
      image("{" + entry("a", "U8", "[4]", 0, 4) + "," + entry("b", "U8", "[4]", 0, 4) + "}", 4),
      ErrorCode::bad_data, {"tensor b", "overlaps"});
}

TEST(SafetensorsHostile, HolesAndBytesThatNobodyOwns) {
  expect_refused(
      image("{" + entry("a", "U8", "[4]", 0, 4) + "," + entry("b", "U8", "[4]", 6, 10) + "}", 10),
      ErrorCode::bad_data, {"tensor b", "a hole of 2 bytes"});
  expect_refused(image("{" + entry("a", "U8", "[4]", 1, 5) + "}", 5), ErrorCode::bad_data,
                 {"tensor a", "a hole of 1 byte"});
  expect_refused(image("{" + entry("a", "U8", "[4]", 0, 4) + "}", 5), ErrorCode::bad_data,
                 {"describes 4 bytes", "has 5"});
}

TEST(SafetensorsHostile, UnknownDtype) {
  expect_refused(image("{" + entry("a", "F8_E4M3", "[4]", 0, 4) + "}", 4), ErrorCode::unsupported,
                 {"tensor a", "F8_E4M3", "BF16"});
}

TEST(SafetensorsHostile, ShapeAndSizeDisagree) {
  expect_refused(image("{" + entry("a", "F32", "[2,3]", 0, 20) + "}", 20), ErrorCode::bad_data,
                 {"tensor a", "expected 24 bytes", "F32 [2, 3]", "got 20"});
  expect_refused(image("{" + entry("a", "F32", "[4294967296,4294967296]", 0, 4) + "}", 4),
                 ErrorCode::bad_data, {"tensor a", "63 bits"});
  expect_refused(image("{" + entry("a", "F64", "[2305843009213693952]", 0, 0) + "}", 0),
                 ErrorCode::bad_data, {"tensor a", "63 bits"});
}

TEST(SafetensorsHostile, TooManyDimensions) {
  expect_refused(image("{" + entry("a", "U8", "[1,1,1,1,1]", 0, 1) + "}", 1), ErrorCode::bad_data,
                 {"tensor a", "at most 4", "got 5"});
}

TEST(SafetensorsHostile, OffsetsOutOfOrderOrRange) {
  for (const char* offsets :
       {"[4,0]", "[0,5]", "[18446744073709551615,3]", "[0,18446744073709551615]", "[0]", "[0,4,4]",
        "[-1,3]", "[0.0,4.0]", "\"0,4\"", "null", "[0,1e99]"}) {
    expect_refused(image("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" +
                             std::string(offsets) + "}}",
                         4),
                   ErrorCode::bad_data, {"tensor a", "offsets"});
  }
}

TEST(SafetensorsHostile, DuplicateKeys) {
  expect_refused(
      image("{" + entry("a", "U8", "[4]", 0, 4) + "," + entry("a", "U8", "[4]", 4, 8) + "}", 8),
      ErrorCode::bad_data, {"\"a\" occurs twice"});
}

TEST(SafetensorsHostile, MalformedEntries) {
  for (const char* value :
       {"1", "{}", "[]", "{\"dtype\":1}", "{\"dtype\":\"U8\"}", "{\"dtype\":\"U8\",\"shape\":4}",
        "{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,0]}",
        "{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,0]}",
        "{\"dtype\":\"U8\",\"shape\":[9223372036854775808],\"data_offsets\":[0,0]}",
        "{\"dtype\":\"U8\",\"shape\":[0]}"}) {
    expect_refused(image("{\"a\":" + std::string(value) + "}", 0), ErrorCode::bad_data,
                   {"tensor a"});
  }
  expect_refused(image("[]", 0), ErrorCode::bad_data, {"begin with '{'"});
  expect_refused(image("{", 0), ErrorCode::bad_data, {"model.safetensors:1:2: invalid JSON"});
  expect_refused(image("{\"__metadata__\":1}", 0), ErrorCode::bad_data, {"__metadata__"});
  expect_refused(image("{\"__metadata__\":{\"a\":1}}", 0), ErrorCode::bad_data, {"__metadata__ a"});
  expect_refused(image(std::string(100000, '{'), 0), ErrorCode::bad_data, {"invalid JSON"});
}

TEST_F(Safetensors, MissingEmptyAndSpecialFiles) {
  expect_error([&] { open_safetensors(directory_ / "none"); }, ErrorCode::not_found, {"none"});
  expect_error([&] { open_safetensors(directory_.path()); }, ErrorCode::io_error, {"regular file"});
  expect_error([&] { open(""); }, ErrorCode::bad_data, {"at least 8 bytes"});
}

Tensor counting(DType dtype, const Shape& shape, std::uint8_t seed) {
  Tensor tensor(dtype, shape);
  const auto bytes = tensor.bytes();
  auto* data = static_cast<std::uint8_t*>(const_cast<void*>(tensor.view().data));
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::uint8_t>(seed + i * 7);
  return tensor;
}

TEST_F(Safetensors, SinkRoundTripsInAnyOrderAndAligns) {
  const std::vector<std::pair<std::string, Tensor>> tensors{
      {"odd", counting(DType::u8, {3}, 1)},
      {"halves", counting(DType::f16, {5}, 2)},
      {"big", counting(DType::f32, {16, 4}, 3)},
      {"scalar", counting(DType::f32, {}, 4)},
      {"doubles", counting(DType::f64, {3}, 5)},
      {"empty", counting(DType::f32, {0, 7}, 6)},
      {"codes", counting(DType::i8, {64, 3}, 7)},
      {"mask", counting(DType::boolean, {2, 1, 1, 1}, 8)},
  };
  const std::string path = directory_ / "out.safetensors";
  auto sink = make_safetensors_sink(path, {{"format", "pt"}, {"who", "krait"}});
  for (const auto& [name, tensor] : tensors) sink->declare({name, tensor.dtype(), tensor.shape()});
  for (auto it = tensors.rbegin(); it != tensors.rend(); ++it) {
    sink->write(it->first, it->second.view());
    EXPECT_FALSE(std::filesystem::exists(path)) << "visible before finish()";
  }
  sink->finish();

  EXPECT_EQ(directory_.entries(), 1u) << "a temporary file was left behind";
  EXPECT_EQ(safetensors_metadata(path),
            (std::map<std::string, std::string>{{"format", "pt"}, {"who", "krait"}}));
  const auto source = open_safetensors(path);
  ASSERT_EQ(source->list().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const Tensor read = source->get(name);
    EXPECT_EQ(read.dtype(), tensor.dtype());
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(read.view().data, tensor.view().data, tensor.bytes()), 0) << name;
    const auto address = reinterpret_cast<std::uintptr_t>(read.view().data);
    EXPECT_EQ(address % (tensor.bytes() % 64 == 0 ? 64 : size_of(tensor.dtype())), 0u) << name;
    EXPECT_EQ(read.view().data, source->get(name).view().data) << name << " was copied";
  }
}

TEST_F(Safetensors, SinkIsDeterministic) {
  for (const std::string name : {"a", "b"}) {
    auto sink = make_safetensors_sink(directory_ / name, {{"z", "1"}, {"a", "2"}});
    for (const char* tensor : {"y", "x"}) sink->declare({tensor, DType::u8, {3}});
    for (const char* tensor : {"x", "y"}) sink->write(tensor, counting(DType::u8, {3}, 9).view());
    sink->finish();
  }
  EXPECT_EQ(read_file(directory_ / "a"), read_file(directory_ / "b"));
}

TEST_F(Safetensors, SinkWithoutTensorsIsAValidFile) {
  make_safetensors_sink(directory_ / "none", {})->finish();
  EXPECT_TRUE(open_safetensors(directory_ / "none")->list().empty());
}

TEST_F(Safetensors, SinkRefusesMisuse) {
  const Tensor tensor = counting(DType::f32, {2}, 1);
  const auto code = ErrorCode::invalid_argument;
  {
    auto sink = make_safetensors_sink(directory_ / "x", {});
    sink->declare({"a", DType::f32, {2}});
    sink->declare({"b", DType::f32, {2}});
    expect_error([&] { sink->declare({"a", DType::f32, {2}}); }, code, {"a is declared twice"});
    expect_error([&] { sink->declare({"__metadata__", DType::f32, {2}}); }, code, {"__metadata__"});
    expect_error([&] { sink->write("c", tensor.view()); }, code,
                 {"c is written but was not declared"});
    expect_error([&] { sink->write("a", counting(DType::f32, {3}, 1).view()); }, code,
                 {"declared as F32 [2]", "written as F32 [3]"});
    expect_error([&] { sink->write("a", counting(DType::f16, {2}, 1).view()); }, code, {"F16 [2]"});
    sink->write("a", tensor.view());
    expect_error([&] { sink->write("a", tensor.view()); }, code, {"a is written twice"});
    expect_error([&] { sink->declare({"d", DType::f32, {2}}); }, code, {"d is declared after"});
    expect_error([&] { sink->finish(); }, code, {"b was declared but never written"});
    sink->write("b", tensor.view());
    sink->finish();
    expect_error([&] { sink->finish(); }, code, {"twice"});
    expect_error([&] { sink->write("a", tensor.view()); }, code, {"after finish()"});
  }
  EXPECT_EQ(directory_.entries(), 1u);
  expect_error([&] { make_safetensors_sink(directory_ / "x", {}); }, ErrorCode::io_error,
               {"x exists already"});
  expect_error([&] { make_safetensors_sink(directory_ / "no/such/x", {}); }, ErrorCode::io_error,
               {"cannot create", "no/such/x"});
  auto sink = make_safetensors_sink(directory_ / "latin1", {});
  sink->declare({"\xe9", DType::u8, {0}});
  expect_error([&] { sink->write("\xe9", counting(DType::u8, {0}, 1).view()); }, code,
               {"not UTF-8"});
}

TEST_F(Safetensors, AbandonedSinkLeavesNothing) {
  {
    auto sink = make_safetensors_sink(directory_ / "x", {});
    sink->declare({"a", DType::f32, {2}});
    sink->write("a", counting(DType::f32, {2}, 1).view());
  }
  EXPECT_EQ(directory_.entries(), 0u);
}

TEST_F(Safetensors, FullDiskIsOneErrorBeforeTheWork) {
  // A limit on the size of files stands in for a full disk: the same calls fail at the same place.
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit tiny = before;
  tiny.rlim_cur = 1 << 16;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  {
    auto sink = make_safetensors_sink(directory_ / "x", {});
    sink->declare({"a", DType::u8, {4}});
    sink->declare({"b", DType::u8, {1 << 20}});
    expect_error([&] { sink->write("a", counting(DType::u8, {4}, 1).view()); }, ErrorCode::io_error,
                 {"cannot write", directory_ / "x", "1048772 bytes are needed"});
  }
  expect_error([&] { write_file_atomic(directory_ / "y", std::string(1 << 20, 'x')); },
               ErrorCode::io_error, {"cannot write", directory_ / "y"});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(directory_.entries(), 0u);
}

TEST(MemoryTensors, IsSinkAndSource) {
  MemoryTensors memory;
  memory.declare({"b", DType::u8, {4}});
  memory.declare({"a", DType::f32, {}});
  const Tensor written = counting(DType::u8, {4}, 1);
  memory.write("b", written.view());
  expect_error([&] { memory.finish(); }, ErrorCode::invalid_argument, {"a was declared"});
  EXPECT_FALSE(memory.contains("b")) << "readable before finish()";
  memory.write("a", counting(DType::f32, {}, 2).view());
  memory.finish();
  ASSERT_EQ(memory.list().size(), 2u);
  EXPECT_EQ(memory.list()[0].name, "a");
  EXPECT_NE(memory.get("b").view().data, written.view().data);
  EXPECT_EQ(std::memcmp(memory.get("b").view().data, written.view().data, 4), 0);
  expect_error([&] { memory.get("c"); }, ErrorCode::not_found, {"c", "memory"});
  expect_error(
      [&] {
        memory.declare({"c", DType::u8, {}});
      },
      ErrorCode::invalid_argument, {"finish"});
}

TEST(MemoryTensors, GivenTensors) {
  std::vector<std::pair<std::string, Tensor>> tensors{{"x", counting(DType::u8, {4}, 1)}};
  EXPECT_EQ(make_memory_source(tensors)->get("x").view().data, tensors[0].second.view().data);
  tensors.push_back(tensors[0]);
  expect_error([&] { make_memory_source(tensors); }, ErrorCode::invalid_argument,
               {"x is given twice"});
}

}  // namespace
}  // namespace krait
