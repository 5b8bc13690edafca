#include "quant/round_layers.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "quant/calibrate.h"
#include "quant/convert.h"
#include "quant/gptq.h"
#include "quant/layer_taps.h"
#include "quant/nearest.h"
#include "quant/quantization_config.h"

namespace krait {
namespace {

/// The quantized model in the making: tensors come and go.
class Workbench final : public TensorSource {
 public:
  explicit Workbench(const TensorSource& original) : where_(original.where()) {}

  std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, tensor] : tensors_)
      infos.push_back({name, tensor.dtype(), tensor.shape()});
    return infos;
  }
  bool contains(std::string_view name) const override { return tensors_.contains(name); }
  Tensor get(std::string_view name) const override {
    const auto it = tensors_.find(name);
    check(it != tensors_.end(), ErrorCode::not_found, "there is no tensor {} in {}", name, where_);
    return it->second;
  }
  std::string where() const override { return where_; }

  void put(const std::string& name, const Tensor& tensor) { tensors_[name] = tensor; }
  void remove(const std::string& name) { tensors_.erase(name); }

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::string where_;
};

/// 1 / sqrt(mean of squares) of each row of x [tokens, n].
std::vector<float> inverse_rms(std::span<const float> x, std::size_t tokens) {
  std::vector<float> result;
  const std::size_t n = x.size() / tokens;
  for (std::size_t t = 0; t < tokens; ++t) {
    double sum = 0;
    for (const float v : x.subspan(t * n, n)) sum += static_cast<double>(v) * v;
    result.push_back(static_cast<float>(1 / std::sqrt(sum / static_cast<double>(n) + 1e-12)));
  }
  return result;
}

std::vector<double> diagonal(std::span<const double> H, std::int64_t n) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < n && !H.empty(); ++i) {
    result.push_back(H[static_cast<std::size_t>(i * n + i)]);
  }
  return result;
}

class LayerRounder {
 public:
  LayerRounder(Context& ctx, const Model& model, const TensorSource& tensors,
               const QuantizationPlan& plan, const Json& config,
               const CalibrationResult& calibrated, const CalibrationData& data,
               const ProgressFn& progress)
      : ctx_(ctx),
        model_(model),
        tensors_(tensors),
        plan_(plan),
        config_(output_config(config, plan, {})),
        calibrated_(calibrated),
        data_(data),
        progress_(progress),
        rounding_(plan.recipe.rounding()),
        bench_(tensors) {
    if (rounding_.is_gptq()) round_table();
    fill_bench();
    const auto tokens = static_cast<std::size_t>(data.tokens());
    const auto width = static_cast<std::size_t>(plan.layout.info.d_model);
    residual_.resize(tokens * width);
    if (rounding_.has_float_target()) float_residual_.resize(tokens * width);
    const auto layers = static_cast<int>(plan.layout.info.n_layers);
    for (int layer = 0; layer <= layers; ++layer) stages_.push_back(stages_of(layer));
    report_ = {rounding_.is_gptq() ? "gptq" : "rtn", 0, layers, "passes"};
    for (const auto& stages : stages_) report_.total += std::ssize(stages);
    report_.total *= std::ssize(data.samples);
  }

  RoundedTensors run() {
    const auto layers = static_cast<int>(plan_.layout.info.n_layers);
    for (int layer = 0; layer <= layers; ++layer) {
      for (const Stage& stage : stages_[static_cast<std::size_t>(layer)]) put_float(stage);
      for (const Stage& stage : stages_[static_cast<std::size_t>(layer)]) round(stage, layer);
      if (layer < layers) advance(layer);
      for (const Stage& stage : stages_[static_cast<std::size_t>(layer)]) {
        for (const TensorPlan* product : stage.products) {  // a lighter model to load
          remove(*product);
          bench_.put(site_of(*product).name + ".weight", tensors_.get(product->source));
        }
      }
    }
    if (progress_) progress_(report_);
    return std::move(rounded_);
  }

 private:
  const LinearSite& site_of(const TensorPlan& product) const {
    return plan_.layout.linears[static_cast<std::size_t>(product.linear)];
  }

  /// A table of codes that is the head too, for the head's inputs in the float model: what the
  /// layers read is looked up in it, so it comes before them.
  void round_table() {
    const auto& linears = plan_.layout.linears;
    const auto head = std::find_if(linears.begin(), linears.end(),
                                   [](const LinearSite& site) { return !site.tied_to.empty(); });
    if (head == linears.end() || plan_.unties_head) return;
    const auto table = std::find_if(
        plan_.tensors.begin(), plan_.tensors.end(),
        [&](const TensorPlan& t) { return t.is_coded() && t.name == head->tied_to + ".weight"; });
    if (table == plan_.tensors.end()) return;
    const std::int64_t n = head->cols;
    HeadTap tap(ctx_, plan_, head->input_site, calibrated_, n);
    run_samples(ctx_, tap, model_, data_, "gptq, table", progress_);
    Moments& moments = tap.moments;
    const auto size = static_cast<std::size_t>(n);
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += moments.own[i * size + i];
    for (std::size_t i = 0; i < size; ++i) {
      moments.own[i * size + i] += sum / static_cast<double>(n);
    }
    const Tensor value =
        convert_float(ctx_.threads, float_value(ctx_.threads, *table, tensors_, calibrated_),
                      DType::f32, table->source);
    GptqOptions options = gptq_options(rounding_);
    options.damp = 0;
    rounded_.emplace(table->name,
                     pack_rounded(round_gptq(ctx_.threads, value.as<float>(), head->rows, n,
                                             moments.own, *table->integers, options, table->source),
                                  table->shape, *table->integers));
  }

  /// Everything as it will be, but the products that are rounded here in float.
  void fill_bench() {
    QuantizationPlan rest = plan_;
    std::erase_if(rest.tensors, [](const TensorPlan& t) { return t.is_rounded_product(); });
    MemoryTensors written;
    write_tensors(rest, tensors_, calibrated_, rounded_, ctx_.threads, written, {});
    for (const TensorInfo& info : written.list()) bench_.put(info.name, written.get(info.name));
    for (const TensorPlan& tensor : plan_.tensors) {
      if (!tensor.is_rounded_product()) continue;
      bench_.put(site_of(tensor).name + ".weight", tensors_.get(tensor.source));
    }
  }

  /// The head is in the layer behind the last.
  std::vector<Stage> stages_of(int layer) const {
    std::vector<Stage> stages;
    for (const TensorPlan& tensor : plan_.tensors) {
      if (!tensor.is_rounded_product()) continue;
      const LinearSite& site = site_of(tensor);
      const int place = site.layer < 0 ? static_cast<int>(plan_.layout.info.n_layers) : site.layer;
      if (place != layer) continue;
      auto stage = std::find_if(stages.begin(), stages.end(),
                                [&](const Stage& s) { return s.input_site == site.input_site; });
      if (stage == stages.end()) stage = stages.insert(stage, Stage{site.input_site, {}});
      stage->by_expert |=
          std::any_of(stage->products.begin(), stage->products.end(),
                      [&](const TensorPlan* other) { return site_of(*other).role == site.role; });
      stage->products.push_back(&tensor);
    }
    return stages;
  }

  /// fn(sample, batch, place of its residual) for every sample from the zero state of `model`.
  template <typename Fn>
  void for_samples(const Model& model, Fn fn) {
    SequenceState state(model.state_layout());
    SequenceState* const states[] = {&state};
    std::size_t place = 0;
    for (const std::vector<TokenId>& sample : data_.samples) {
      if (progress_) progress_(report_);
      state.reset();
      const std::int32_t bounds[] = {0, static_cast<std::int32_t>(sample.size())};
      fn(Batch{sample, bounds, states}, place);
      place += sample.size() * static_cast<std::size_t>(plan_.layout.info.d_model);
      ++report_.done;
    }
  }

  /// The layer's stage on copies of the residual streams, watched.
  void watch(const Stage& stage, int layer, InputTap& tap) {
    const auto quantized = load_model(ctx_, config_, bench_);
    ValueTap values(ctx_, plan_, stage.input_site, calibrated_);
    SequenceState float_state(model_.state_layout());
    std::vector<float> scratch, wanted;
    const auto run = [&](const Model& model, Tap& watcher, const Batch& batch,
                         const std::vector<float>& residual, std::size_t place) {
      const std::size_t size =
          batch.ids.size() * static_cast<std::size_t>(plan_.layout.info.d_model);
      const auto begin = residual.begin() + static_cast<std::ptrdiff_t>(place);
      scratch.assign(begin, begin + static_cast<std::ptrdiff_t>(size));
      Context tapped = ctx_;
      tapped.tap = &watcher;
      model.forward_layers(tapped, batch, layer, layer + 1, scratch.data());
    };
    const bool compares = compares_with_float(stage);
    for_samples(*quantized, [&](const Batch& batch, std::size_t place) {
      if (compares) {
        float_state.reset();
        SequenceState* const states[] = {&float_state};
        run(model_, values, {batch.ids, batch.cu_seqlens, states}, float_residual_, place);
        wanted = scratch;
      }
      run(*quantized, tap, batch, residual_, place);
      if (!compares) return;
      if (!adds_to_residual(stage)) {
        tap.add_with(values.take(), {});
        return;
      }
      const std::vector<float> weights = inverse_rms(scratch, batch.ids.size());
      std::transform(wanted.begin(), wanted.end(), scratch.begin(), wanted.begin(), std::minus<>());
      tap.add_with(std::move(wanted), weights);
    });
  }

  /// Experts may see other tokens in the float model.
  bool compares_with_float(const Stage& stage) const {
    return rounding_.has_float_target() && !stage.by_expert;
  }

  bool adds_to_residual(const Stage& stage) const {
    return site_of(*stage.products.front()).adds_to_residual;
  }

  /// Smoothed and rotated weights, so that the layer as a whole is what it will be.
  void put_float(const Stage& stage) {
    for (const TensorPlan* product : stage.products) {
      const Tensor value = float_value(ctx_.threads, *product, tensors_, calibrated_);
      bench_.put(site_of(*product).name + ".weight",
                 convert_float(ctx_.threads, value, DType::f32, product->source));
    }
  }

  void round(const Stage& stage, int layer) {
    InputTap tap(ctx_, plan_.layout, stage, compares_with_float(stage));
    watch(stage, layer, tap);
    for (std::size_t i = 0; i < stage.products.size(); ++i) {
      const TensorPlan& product = *stage.products[i];
      Moments pooled;
      const LinearSite& site = site_of(product);
      const Tensor value = bench_.get(site.name + ".weight");
      const RoundedMatrix rounded =
          round_product(product, value.as<float>(), moments_of(stage, tap, i, pooled));
      QuantizedTensor made = pack_rounded(rounded, product.shape, *product.integers);
      bench_.remove(site.name + ".weight");
      for (const auto& [name, tensor] : stored(product, made)) bench_.put(name, tensor);
      rounded_.emplace(product.name, std::move(made));
    }
  }

  /// A product's own, or those of all experts if its own are fewer tokens than columns.
  const Moments& moments_of(const Stage& stage, const InputTap& tap, std::size_t index,
                            Moments& pooled) const {
    const LinearSite& site = site_of(*stage.products[index]);
    const Moments* own = tap.of(index);
    if (own && (!stage.by_expert || own->tokens >= site.cols)) return *own;
    for (std::size_t k = 0; k < stage.products.size(); ++k) {
      const Moments* other = tap.of(k);
      if (!other || site_of(*stage.products[k]).role != site.role) continue;
      pooled.tokens += other->tokens;
      pooled.own.resize(other->own.size());
      std::transform(pooled.own.begin(), pooled.own.end(), other->own.begin(), pooled.own.begin(),
                     std::plus<>());
    }
    return pooled;
  }

  RoundedMatrix round_product(const TensorPlan& product, std::span<const float> value,
                              const Moments& seen) const {
    const LinearSite& site = site_of(product);
    const std::int64_t rows = site.rows, cols = site.cols;
    const IntegerFormat& format = *product.integers;
    const std::span<const double> H = seen.own;
    std::vector<float> w(value.begin(), value.end());
    const GptqOptions options = gptq_options(rounding_);
    if (!seen.cross.empty()) {
      w = corrected(ctx_.threads, w, rows, cols, H,
                    site.adds_to_residual
                        ? seen.cross
                        : missing_outputs(ctx_.threads, w, rows, cols, seen.own, seen.cross),
                    options.damp);
    }
    return rounding_.is_gptq()
               ? round_gptq(ctx_.threads, w, rows, cols, H, format, options, product.source)
               : round_nearest(ctx_.threads, w, rows, cols, diagonal(H, cols), format,
                               options.scale);
  }

  void remove(const TensorPlan& product) {
    for (const TensorInfo& info : product.outputs()) bench_.remove(info.name);
  }

  /// Takes the residual streams through a layer.
  void advance(int layer) {
    const auto quantized = load_model(ctx_, config_, bench_);
    for_samples(*quantized, [&](const Batch& batch, std::size_t place) {
      quantized->forward_layers(ctx_, batch, layer, layer + 1, residual_.data() + place);
    });
    if (!rounding_.has_float_target()) return;
    report_.done -= std::ssize(data_.samples);
    for_samples(model_, [&](const Batch& batch, std::size_t place) {
      model_.forward_layers(ctx_, batch, layer, layer + 1, float_residual_.data() + place);
    });
  }

  Context& ctx_;
  const Model& model_;
  const TensorSource& tensors_;
  const QuantizationPlan& plan_;
  const Json config_;
  const CalibrationResult& calibrated_;
  const CalibrationData& data_;
  const ProgressFn& progress_;
  const Rounding rounding_;
  Workbench bench_;
  std::vector<std::vector<Stage>> stages_;        // by layer
  std::vector<float> residual_, float_residual_;  // [tokens, d_model]
  RoundedTensors rounded_;
  Progress report_;
};

}  // namespace

RoundedTensors round_layers(Context& ctx, const Model& model, const TensorSource& tensors,
                            const QuantizationPlan& plan, const Json& config,
                            const CalibrationResult& calibrated, const CalibrationData& data,
                            const ProgressFn& progress) {
  return LayerRounder(ctx, model, tensors, plan, config, calibrated, data, progress).run();
}

}  // namespace krait
