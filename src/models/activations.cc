#include "models/activations.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/hadamard/hadamard.h"
#include "kernels/quantize/quantize.h"

namespace krait {

float* static_scale(const Site& site) noexcept {
  return const_cast<float*>(site.scale.as<float>().data());
}

Activation take_site(Context& ctx, const Site& site, std::int64_t rows) {
  if (!site.is_int8()) {
    return f32_activation(ctx.arena.take<float>(rows * site.channels), rows, site.channels);
  }
  const QuantArgs& args = site.numerics.args;
  float* scale = nullptr;
  if (!args.dynamic) {
    scale = static_scale(site);
  } else {
    scale = ctx.arena.take<float>(args.strategy == Strategy::token ? rows : 1);
  }
  Activation kept{.data = ctx.arena.take<std::int8_t>(rows * site.channels),
                  .dtype = DType::i8,
                  .rows = rows,
                  .cols = site.channels,
                  .stride = site.channels,
                  .strategy = args.strategy,
                  .dynamic = args.dynamic,
                  .scale = scale};
  if (args.outlier_threshold > 0) {
    kept.outlier_threshold = args.outlier_threshold;
    kept.outliers = ctx.arena.take<Outlier>(rows * site.channels);
    kept.outlier_count = ctx.arena.take<std::int32_t>(rows);
  }
  return kept;
}

namespace {

/// What lies elsewhere, as the host can read it.
class HostCopy {
 public:
  HostCopy(Memory& memory, const Activation& x) : copy_(x) {
    const auto element = static_cast<std::int64_t>(size_of(x.dtype));
    take(memory, copy_.data, ((x.rows - 1) * x.stride + x.cols) * element);
    if (x.scale && x.strategy != Strategy::channel) {  // those of channels came with the weights
      take(memory, copy_.scale, (x.strategy == Strategy::token ? x.rows : 1) * 4);
    }
    if (x.outliers) {
      take(memory, copy_.outliers, x.rows * x.cols * static_cast<std::int64_t>(sizeof(Outlier)));
      take(memory, copy_.outlier_count, x.rows * 4);
    }
  }
  const Activation& view() const noexcept { return copy_; }

 private:
  template <typename T>
  void take(Memory& memory, T*& at, std::int64_t bytes) {
    parts_.push_back(allocate_aligned(static_cast<std::size_t>(bytes)));
    memory.read(parts_.back().get(), at, static_cast<std::size_t>(bytes));
    at = static_cast<T*>(parts_.back().get());
  }

  Activation copy_;
  std::vector<std::shared_ptr<void>> parts_;
};

}  // namespace

void observe(const Context& ctx, const Site& site, const Activation& value) {
  if (!ctx.tap) return;
  Memory& memory = ctx.arena.memory();
  if (memory.is_host()) return ctx.tap->observe(site.index, value);
  ctx.tap->observe(site.index, HostCopy(memory, value).view());
}

Activation to_site(Context& ctx, const Site& site, const Activation& values) {
  const Activation kept = site.is_int8() ? take_site(ctx, site, values.rows) : values;
  if (const std::int64_t block = site.numerics.hadamard_block) {
    hadamard(ctx, values, block, kept);
  } else {
    quantize(ctx, values, kept);
  }
  observe(ctx, site, kept);
  return kept;
}

Tensor joint_scale(Parts parts) {
  std::int64_t channels = 0;
  for (const Site* site : parts) {
    if (!site->is_static_int8()) return {};
    channels += site->channels;
  }
  Tensor joint(DType::f32, {channels});
  auto out = joint.mutable_as<float>().begin();
  for (const Site* site : parts) {
    const std::span<const float> scale = site->scale.as<float>();
    for (std::int64_t c = 0; c < site->channels; ++c) {
      *out++ = scale[site->has_one_scale() ? 0 : static_cast<std::size_t>(c)];
    }
  }
  return joint;
}

void split_linear(Context& ctx, const Weight& weight, const Activation& x, Parts parts,
                  const Tensor& joint, std::span<Activation> out) {
  const std::int64_t rows = x.rows, cols = weight.rows();
  Activation whole;
  if (joint.empty()) {
    whole = f32_activation(ctx.arena.take<float>(rows * cols), rows, cols);
  } else {
    whole = {.data = ctx.arena.take<std::int8_t>(rows * cols),
             .dtype = DType::i8,
             .rows = rows,
             .cols = cols,
             .stride = cols,
             .strategy = Strategy::channel,
             .scale = const_cast<float*>(joint.as<float>().data())};
  }
  linear(ctx, weight, x, whole);
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Site& site = *parts[i];
    out[i] = whole.columns(begin, begin + site.channels);
    begin += site.channels;
    if (!joint.empty() && site.has_one_scale()) {
      out[i].strategy = Strategy::tensor;
      out[i].scale = static_scale(site);
    } else if (joint.empty() && site.is_int8()) {
      const Activation part = take_site(ctx, site, rows);
      quantize(ctx, out[i], part);
      out[i] = part;
    }
    observe(ctx, site, out[i]);
  }
}

}  // namespace krait
