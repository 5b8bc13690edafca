// Models of published shapes with random weights, made on demand: speed and memory can be measured
// on a board before anything is downloaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/tensor_source.h"

namespace krait {

struct DummyModel {
  Json config;                            ///< as Hugging Face has it
  std::shared_ptr<TensorSource> tensors;  ///< f16; get() generates, the same bytes every time
};

/// A published shape by name, such as mamba-130m. Weights are uniform with the variance that keeps
/// activations near 1; parameters begin as their Init says. Errors: not_found, with the names.
DummyModel make_dummy_model(const std::string& name, std::uint64_t seed = 0);

std::vector<std::string> dummy_names();

}  // namespace krait
