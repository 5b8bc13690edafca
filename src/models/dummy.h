// Models of published shapes with random weights, made on demand: speed and memory can be measured
// on a board before anything is downloaded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
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

/// A published shape by name, such as mamba-130m. Weights are uniform with the variance that keeps
/// activations near 1; A, dt and D start as their papers say. Errors: not_found, with the names.
DummyModel make_dummy_model(const std::string& name, std::uint64_t seed = 0);

std::vector<std::string> dummy_names();

// ---- what an architecture says of its published shapes
// --------------------------------------------

/// How the elements of a random tensor are made.
enum class DummyFill {
  ones,
  zeros,
  uniform,  ///< of the given deviation
  log_n,    ///< log(1 .. n) along the last dimension: A_log of Mamba-1 (arXiv 2312.00752, 3.6)
  log_16,   ///< log of a uniform number in [1, 16]: A_log of Mamba-2 (arXiv 2405.21060)
  dt_bias,  ///< inverse softplus of a step in [0.001, 0.1], uniform in its logarithm
};

struct DummyTensor {
  Shape shape;
  DummyFill fill = DummyFill::uniform;
  double deviation = 0;  ///< of DummyFill::uniform
};

/// A matrix [rows, cols] whose product with a vector of unit elements has deviation `gain`.
DummyTensor dummy_matrix(std::int64_t rows, std::int64_t cols, double gain = 1);

struct DummyCheckpoint {
  Json config;
  std::map<std::string, DummyTensor, std::less<>> tensors;
};

/// The published shapes of one architecture.
struct DummyShapes {
  std::span<const std::string_view> names;
  DummyCheckpoint (*make)(std::string_view name);  ///< of one of the names
};

}  // namespace krait
