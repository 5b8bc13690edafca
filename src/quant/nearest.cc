#include "quant/nearest.h"

#include <numeric>

#include "core/check.h"
#include "quant/convert.h"
#include "quant/rounding_problem.h"
#include "quant/trellis.h"

namespace krait {

RoundedMatrix round_nearest(ThreadPool& threads, std::span<const float> w, std::int64_t rows,
                            std::int64_t cols, std::span<const double> weights,
                            const IntegerFormat& format, StepChoice choice) {
  const std::vector<double> same(at(cols), 1.0);
  if (weights.empty()) weights = same;
  if (format.is_trellis()) {
    if (choice != StepChoice::weighted_mse) weights = same;
    RoundedMatrix result;
    result.steps = choose_trellis_steps(threads, w, rows, cols, format, weights);
    encode_nearest(threads, w, rows, cols, format, weights, result);
    return result;
  }
  RoundedMatrix result{std::vector<std::int8_t>(w.size()),
                       choose_steps(threads, w, rows, cols, format, choice, weights)};
  const std::int64_t groups = cols / format.group;
  threads.parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        const float step = result.steps[at(r * groups + c / format.group)];
        result.q[at(r * cols + c)] =
            static_cast<std::int8_t>(round_to_grid(w[at(r * cols + c)], step, format));
      }
    }
  });
  return result;
}

QuantizedTensor quantize_nearest(ThreadPool& threads, const Tensor& value,
                                 const IntegerFormat& format, StepChoice choice,
                                 std::string_view name) {
  const Tensor wide = convert_float(threads, value, DType::f32, name);
  const std::int64_t rows = value.shape()[0], cols = value.elements() / rows;
  const std::int64_t multiple = format.has_bf16_steps && !format.is_coded ? 8 : 1;
  check(format.group >= 1 && format.group % multiple == 0 && cols % format.group == 0,
        ErrorCode::invalid_argument, "tensor {} {} has no groups of {} columns", name,
        value.shape().str(), format.group);
  const std::int64_t of_parts =
      std::accumulate(format.parts.begin(), format.parts.end(), std::int64_t{0});
  check(format.parts.empty() || of_parts == rows, ErrorCode::invalid_argument,
        "tensor {}: parts of {} rows in all are needed, got {}", name, rows, of_parts);
  return pack_rounded(round_nearest(threads, wide.as<float>(), rows, cols, {}, format, choice),
                      value.shape(), format);
}

}  // namespace krait
