// Models of published shapes with random weights, made on demand: speed and memory can be measured
// on a board before anything is downloaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "io/tensor_source.h"

namespace krait {

struct DummyModel {
  Json config;                            ///< as Hugging Face has it
  std::shared_ptr<TensorSource> tensors;  ///< f16; get() generates, the same bytes every time
};

/// mamba-130m, -370m, -790m, -1.4b or -2.8b (Gu and Dao 2023, arXiv 2312.00752): vocabulary
/// 50280, tied head. Weights are uniform with the variance that keeps activations near 1; A, dt and
/// D start as in the paper (section 3.6). Errors: not_found, with the names.
DummyModel make_dummy_model(const std::string& name, std::uint64_t seed = 0);

std::vector<std::string> dummy_names();

}  // namespace krait
