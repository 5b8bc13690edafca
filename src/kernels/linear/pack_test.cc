#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "core/memory.h"
#include "kernels/linear/linear.h"
#include "kernels/test_support.h"

namespace krait {
namespace {

TEST(Pack, KeepsLargeWeightsReadable) {
  Rng rng(8);
  constexpr std::int64_t kSize = 1024;  // large enough to be given back
  std::vector<std::int8_t> before = random_bytes(rng, kSize * kSize);
  std::ranges::replace(before, std::int8_t{-128}, std::int8_t{0});
  const std::string path = testing::TempDir() + "krait_pack_test.bin";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(before.data()), std::ssize(before));

  Weight heap, mapped;
  heap.data = Tensor(DType::i8, {kSize, kSize});
  std::ranges::copy(before, heap.data.mutable_as<std::int8_t>().begin());
  const auto file = MappedFile::open(path);
  mapped.data = Tensor(TensorView{file->data(), DType::i8, {kSize, kSize}}, file);
  for (Weight* weight : {&heap, &mapped}) {
    TestContext test(Isa::reference, 2);
    pack(test.ctx, *weight);
    EXPECT_EQ(std::memcmp(weight->data.view().data, before.data(), before.size()), 0);
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace krait
