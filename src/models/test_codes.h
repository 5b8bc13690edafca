// A checkpoint of codes made by hand, for tests.
#pragma once

#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "kernels/linear/linear.h"
#include "models/test_int8.h"

namespace krait {

/// Random codes of a matrix as its four tensors NAME.weight_..., in the place of NAME.weight and
/// its scale, of about the size of RandomTensors::linear. Returns the matrix that they stand for.
inline Tensor random_codes(TestCheckpoint& checkpoint, const LinearSite& site, int bits, Rng& rng) {
  Weight weight;
  weight.code_bits = bits;
  weight.strategy = Strategy::group;
  weight.group_size = site.cols % 32 == 0 ? 32 : 16;
  weight.data = Tensor(DType::u8, {(site.rows + 1) / 2, site.cols * bits / 4});
  for (auto& byte : weight.data.mutable_as<std::uint8_t>()) {
    byte = static_cast<std::uint8_t>(rng.next());
  }
  weight.table = Tensor(DType::i8, {64});
  for (auto& value : weight.table.mutable_as<std::int8_t>()) {
    value = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
  }
  weight.scale = Tensor(DType::bf16, {site.rows, site.cols / weight.group_size});
  for (auto& scale : weight.scale.mutable_as<std::uint16_t>()) {
    const double step = 2 / (127 * std::sqrt(static_cast<double>(site.cols)));
    scale = f32_to_bf16(static_cast<float>(step * (0.5 + rng.uniform())));
  }
  Tensor shape(DType::i64, {2});
  shape.mutable_as<std::int64_t>()[0] = site.rows;
  shape.mutable_as<std::int64_t>()[1] = site.cols;
  const std::string name = site.name + ".weight";
  checkpoint.tensors.erase(name);
  checkpoint.tensors[name + "_codes"] = weight.data;
  checkpoint.tensors[name + "_table"] = weight.table;
  checkpoint.tensors[name + "_scale"] = weight.scale;
  checkpoint.tensors[name + "_shape"] = shape;

  TestRuntime runtime;
  Tensor matrix(DType::f32, {site.rows, site.cols});
  std::vector<std::int32_t> rows(static_cast<std::size_t>(site.rows));
  std::iota(rows.begin(), rows.end(), 0);
  embedding(runtime.ctx, weight, rows, matrix.mutable_as<float>().data());
  return matrix;
}

struct CodedCheckpoint {
  TestCheckpoint coded;
  TestCheckpoint twin;  ///< the same with those matrices in f32
  int matrices = 0;
};

/// int8 with dynamic scales per token, and codes of 2, 3 and 4 bits in turn wherever a matrix has a
/// multiple of 16 columns, the embedding table too.
inline CodedCheckpoint code_by_hand(const TestCheckpoint& original,
                                    std::span<const std::int32_t> ids) {
  CodedCheckpoint result;
  result.coded = quantize_by_hand(original, HandScheme::dynamic_token, ids);
  result.twin = result.coded;
  Rng rng(17);
  for (const LinearSite& site : describe_model(original.config, *original.source()).linears) {
    if (!site.tied_to.empty() || site.cols % 16 != 0) continue;
    const Tensor matrix = random_codes(result.coded, site, 2 + result.matrices++ % 3, rng);
    result.twin.tensors[site.name + ".weight"] = matrix;
    result.twin.tensors.erase(site.name + ".weight_scale");
  }
  return result;
}

}  // namespace krait
