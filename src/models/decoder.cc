#include "models/decoder.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/system_memory.h"
#include "kernels/attention/attention.h"
#include "kernels/rows/rows.h"
#include "models/activations.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

/// The op of a spec, nothing read yet.
template <typename T>
Op made(const auto& spec) {
  T op;
  op.spec = spec;
  return op;
}
Op make_op(const Mamba1Spec& spec) { return made<Mamba1>(spec); }
Op make_op(const Mamba2Spec& spec) { return made<Mamba2>(spec); }
Op make_op(const AttentionSpec& spec) { return made<Attention>(spec); }
Op make_op(const FeedForwardSpec& spec) { return made<FeedForward>(spec); }
Op make_op(const ExpertsSpec& spec) { return made<Experts>(spec); }

/// fn(op) for every op of all blocks, with the number of its block.
template <typename Parts, typename Fn>
void for_each_op(Parts& parts, Fn&& fn) {
  for (std::size_t i = 0; i < parts.blocks.size(); ++i) {
    for (auto& branch : parts.blocks[i]) {
      std::visit([&](auto& op) { fn(op, static_cast<int>(i)); }, branch.op);
    }
  }
}

}  // namespace

// ---- visitors -----------------------------------------------------------------------------------

DecoderParts make_parts(const DecoderConfig& config) {
  DecoderParts parts;
  parts.ends.spec = config.ends;
  for (const Block& block : config.blocks) {
    auto& branches = parts.blocks.emplace_back();
    for (const Branch& branch : block.branches) {
      branches.push_back(
          {{}, std::visit([](const auto& spec) { return make_op(spec); }, branch.op)});
    }
  }
  return parts;
}

void walk(const DecoderConfig& config, DecoderParts& parts, Visitor& v) {
  v.d_model = config.ends.d_model;
  v.module = "ends";
  visit_table(parts.ends, v);
  for (std::size_t i = 0; i < config.blocks.size(); ++i) {
    v.layer = static_cast<int>(i);
    const std::vector<Branch>& branches = config.blocks[i].branches;
    const auto each = [&](auto&& fn) {
      for (std::size_t b = 0; b < branches.size(); ++b) {
        DecoderParts::Branch& part = parts.blocks[i][b];
        v.module = std::visit([](const auto& op) { return op.kModule; }, part.op);
        fn(branches[b], part);
      }
    };
    v.prefix = "";
    each([&](const Branch& told, DecoderParts::Branch& part) {
      v.norm(part.norm, told.norm, v.d_model);
    });
    each([&](const Branch& told, DecoderParts::Branch& part) {
      v.prefix = told.prefix;
      v.sites = told.sites.empty() ? told.prefix : told.sites;
      v.norm_name = told.norm.name;
      std::visit([&](auto& op) { visit(op, v); }, part.op);
    });
  }
  v.layer = -1;
  v.module = "ends";
  v.prefix = "";
  visit_head(parts.ends, v);
}

namespace {

/// Writes a layout.
class Describe final : public Visitor {
 public:
  ModelLayout layout;

  void site(Site& to, ActivationSite told) override {
    place(told);
    if (told.is_state) told.kind = told.is_cache ? "cache" : "state";
    to.index = static_cast<int>(layout.activations.size());
    layout.activations.push_back(std::move(told));
  }
  void product(Weight&, LinearSite told, const Site& input) override {
    if (!place(told)) return;
    told.input_site = input.index;
    if (input.index >= 0) {
      layout.activations[static_cast<std::size_t>(input.index)].kind = told.kind + ".input";
    }
    layout.linears.push_back(std::move(told));
  }
  void param(Tensor&, ParamSite told) override {
    if (!place(told)) return;
    layout.params.push_back(std::move(told));
  }
  void convolution(std::span<ConvWeight* const> to, std::span<const Site* const> inputs,
                   std::int64_t taps, bool has_bias) override {
    std::int64_t channels = 0;
    std::vector<std::int64_t> parts;
    for (const Site* input : inputs) {
      parts.push_back(layout.activations[static_cast<std::size_t>(input->index)].channels);
      channels += parts.back();
    }
    if (to.size() == 1) parts.clear();
    Tensor none;
    const auto add = [&](const char* role, const Shape& shape) {
      param(none, {.role = role, .shape = shape, .parts = parts, .init = Init::uniform});
    };
    add("conv1d.weight", {channels, 1, taps});
    if (has_bias) add("conv1d.bias", {channels});
  }
  void head_order(HeadOrder order) override { layout.head_orders.push_back(std::move(order)); }

 private:
  /// False if it was there before.
  template <typename T>
  bool place(T& told) {
    told.name = name_of(told);
    told.module = module;
    told.layer = layer;
    return seen_.insert(told.name).second;
  }

  std::set<std::string> seen_;
};

/// Takes what a layout lists, in its order: the walk is the same.
class Reader : public Visitor {
 public:
  Reader(const ModelLayout& layout, const std::map<std::string, ActivationNumerics>& numerics)
      : layout_(layout), numerics_(numerics) {}

  void site(Site& to, ActivationSite) override {
    const int index = sites_++;
    to = numeric_site(layout_, index, numerics_);
  }
  void product(Weight&, LinearSite, const Site&) override {}
  void param(Tensor&, ParamSite) override {}
  void convolution(std::span<ConvWeight* const>, std::span<const Site* const>, std::int64_t,
                   bool) override {}

 protected:
  const ModelLayout& layout_;
  const std::map<std::string, ActivationNumerics>& numerics_;
  int sites_ = 0;
};

/// Reads a checkpoint.
class Load final : public Reader {
 public:
  Load(Context& ctx, const TensorSource& tensors, const ModelLayout& layout,
       const std::map<std::string, ActivationNumerics>& numerics, bool packs_experts)
      : Reader(layout, numerics), ctx_(ctx), tensors_(tensors), packs_experts_(packs_experts) {
    for (const LinearSite& site : layout.linears) linears_[site.name] = &site;
    for (const ParamSite& site : layout.params) params_[site.name] = &site;
  }

  void site(Site& to, ActivationSite told) override {
    Reader::site(to, told);
    load_scales(tensors_, layout_, to);
  }
  void product(Weight& to, LinearSite told, const Site& input) override {
    const LinearSite& site = *linears_.at(name_of(told));
    if (const auto known = weights_.find(site.tied_to.empty() ? site.name : site.tied_to);
        known != weights_.end()) {
      to = *known->second;
    } else {
      // The table of a head of its own is read a row at a time.
      const bool packed = site.kind == "table" ? !layout_.linears.back().tied_to.empty()
                                               : site.share == 1 || packs_experts_;
      to = load_weight(ctx_, tensors_, site, packed);
      weights_[site.name] = &to;
    }
    if (site.input_site >= 0) check_input(to, site, input);
  }
  void param(Tensor& to, ParamSite told) override {
    to = load_param(tensors_, *params_.at(name_of(told)));
  }
  void convolution(std::span<ConvWeight* const> to, std::span<const Site* const> inputs,
                   std::int64_t, bool has_bias) override {
    const ParamSite& weight = *params_.at(prefix + "conv1d.weight");
    const ParamSite* bias = has_bias ? params_.at(prefix + "conv1d.bias") : nullptr;
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < to.size(); ++i) {
      const std::int64_t end = begin + inputs[i]->channels;
      *to[i] = load_conv(tensors_, weight, bias, inputs[i]->has_one_scale(), begin, end);
      begin = end;
    }
  }

 private:
  Context& ctx_;
  const TensorSource& tensors_;
  bool packs_experts_;
  std::map<std::string_view, const LinearSite*> linears_;
  std::map<std::string_view, const ParamSite*> params_;
  std::map<std::string_view, const Weight*> weights_;  // read so far
};

/// Counts the bytes that one decoded token reads: of experts as many as it takes, of the table
/// nothing (one row).
class CountBytes final : public Visitor {
 public:
  double bytes = 0;

  void site(Site&, ActivationSite) override {}
  void product(Weight& weight, LinearSite told, const Site&) override {
    if (told.kind != "table") bytes += told.share * static_cast<double>(read_bytes(weight));
  }
  void param(Tensor& tensor, ParamSite) override { add(tensor); }
  void convolution(std::span<ConvWeight* const> convs, std::span<const Site* const>, std::int64_t,
                   bool) override {
    for (const ConvWeight* conv : convs) {
      for (const Tensor* tensor : {&conv->data, &conv->scale, &conv->bias}) add(*tensor);
    }
  }

 private:
  void add(const Tensor& tensor) {
    if (!tensor.empty()) bytes += static_cast<double>(tensor.bytes());
  }
};

std::vector<float> inverse_frequencies(const RopeSpec& rope) {
  std::vector<float> result;
  for (std::int64_t i = 0; i < rope.dims; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(rope.dims);
    result.push_back(static_cast<float>(1 / std::pow(rope.base, exponent)));
  }
  return result;
}

/// Sites in their numerics and the state that follows from them.
StateLayout lay_out_state(const DecoderConfig& config, DecoderParts& parts,
                          const ModelLayout& layout,
                          const std::map<std::string, ActivationNumerics>& numerics) {
  Reader reader(layout, numerics);
  walk(config, parts, reader);
  StateLayout state;
  for_each_op(parts, [&](auto& op, int layer) {
    if constexpr (requires { add_state(op, layer, state); }) add_state(op, layer, state);
  });
  return state;
}

/// In floating point: sizes that no tensor has confirmed yet may be anything.
std::int64_t count_parameters(const ModelLayout& layout) {
  double parameters = 0;
  for (const LinearSite& site : layout.linears) {
    if (!site.tied_to.empty()) continue;
    parameters += static_cast<double>(site.rows) * static_cast<double>(site.cols);
    if (site.has_bias) parameters += static_cast<double>(site.rows);
  }
  for (const ParamSite& site : layout.params) {
    parameters += static_cast<double>(site.shape.elements());
  }
  return static_cast<std::int64_t>(std::min(parameters, 0x1p62));
}

}  // namespace

ModelLayout describe_decoder(const DecoderConfig& config) {
  DecoderParts parts = make_parts(config);
  Describe describe;
  walk(config, parts, describe);
  ModelInfo& info = describe.layout.info;
  info.d_model = config.ends.d_model;
  info.n_layers = static_cast<std::int64_t>(config.blocks.size());
  info.vocab_rows = config.ends.vocab_rows;
  info.vocab_size = config.ends.vocab_size;
  info.parameters = count_parameters(describe.layout);
  return std::move(describe.layout);
}

StateLayout describe_state(const DecoderConfig& config,
                           const std::map<std::string, ActivationNumerics>& numerics) {
  DecoderParts parts = make_parts(config);
  return lay_out_state(config, parts, describe_decoder(config), numerics);
}

bool packs_experts(const ModelLayout& layout, const TensorSource& tensors, std::size_t memory) {
  std::set<std::string_view> experts;
  for (const LinearSite& site : layout.linears) {
    if (site.share < 1) experts.insert(site.name);
  }
  std::size_t bytes = 0;
  for (const TensorInfo& info : tensors.list()) {
    if (is_float(info.dtype)) continue;
    const std::string_view owner = std::string_view(info.name).substr(0, info.name.rfind('.'));
    if (experts.contains(owner)) {
      bytes += static_cast<std::size_t>(info.shape.elements()) * size_of(info.dtype);
    }
  }
  return bytes <= memory / 2;
}

Decoder::Decoder(Context& ctx, DecoderConfig config, ModelLayout layout,
                 std::map<std::string, ActivationNumerics> numerics, const TensorSource& tensors,
                 std::span<const std::string_view> ignored, const LoadOptions& options)
    : Model(std::move(layout), std::move(numerics)),
      config_(std::move(config)),
      parts_(make_parts(config_)) {
  auto state = std::make_shared<StateLayout>(lay_out_state(config_, parts_, layout_, numerics_));
  check_finite(ctx, tensors, ignored);
  state->fingerprint = model_fingerprint(config_, numerics_, tensors);
  Load load(ctx, tensors, layout_, numerics_,
            options.packs_experts.value_or(packs_experts(layout_, tensors, system_memory_bytes())));
  walk(config_, parts_, load);
  prepare(parts_.ends);
  std::vector<RopeSpec> ropes;
  for_each_op(parts_, [&](auto& op, int) {
    if constexpr (requires { prepare(op); }) prepare(op);
    if constexpr (requires { op.angles; }) {
      const RopeSpec& rope = op.spec.rope;
      if (rope.dims == 0) return;
      const auto known = std::find(ropes.begin(), ropes.end(), rope);
      op.angles = static_cast<std::size_t>(known - ropes.begin());
      if (known == ropes.end()) ropes.push_back(rope);
    }
  });
  for (const RopeSpec& rope : ropes) inverse_frequencies_.push_back(inverse_frequencies(rope));
  CountBytes count;
  walk(config_, parts_, count);
  weight_bytes_ = static_cast<std::size_t>(std::llround(count.bytes));
  state_layout_ = std::move(state);
}

// ---- forward ------------------------------------------------------------------------------------

namespace {

/// What an op reads: norm(residual + add) at its input's site, [T, D].
template <typename T>
Activation normed(Context& ctx, const T& op, float* residual, const float* add, const Norm& norm,
                  std::int64_t tokens) {
  return norm_to_site(ctx, residual, add, norm, op.input, tokens);
}

/// Experts divide it among router and experts themselves.
Activation normed(Context& ctx, const Experts& op, float* residual, const float* add,
                  const Norm& norm, std::int64_t tokens) {
  const std::int64_t D = op.input.channels;
  const Activation wide = f32_activation(ctx.arena.take<float>(tokens * D), tokens, D);
  add_norm(ctx, residual, add, norm, wide);
  return wide;
}

/// Room for the batch's tokens in states that grow.
void reserve(const Batch& batch) {
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    batch.states[i]->reserve(batch.cu_seqlens[i + 1] - batch.cu_seqlens[i]);
  }
}

/// Counts the tokens of the batch in the states.
void advance(const Batch& batch) {
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    batch.states[i]->advance(batch.cu_seqlens[i + 1] - batch.cu_seqlens[i]);
  }
}

Pass pass_of(Context& ctx, const Batch& batch,
             const std::vector<std::vector<float>>& inverse_frequencies) {
  Pass pass{batch, {}, {}};
  for (std::size_t i = 0; i < batch.states.size(); ++i) {
    pass.rows.push_back(batch.states[i]->next_rows(batch.cu_seqlens[i], batch.cu_seqlens[i + 1]));
  }
  for (const std::vector<float>& frequencies : inverse_frequencies) {
    const auto half = std::ssize(frequencies);
    float* cos = ctx.arena.take<float>(batch.tokens() * half);
    float* sin = ctx.arena.take<float>(batch.tokens() * half);
    rotary_angles(ctx, frequencies, pass.rows, cos, sin);
    pass.angles.push_back({cos, sin});
  }
  return pass;
}

}  // namespace

/// Blocks [begin, end) on the residual stream [T, d_model]. Returns what the last branch has yet to
/// add to it, from the arena: the next norm does. nullptr without blocks.
const float* Decoder::run_blocks(Context& ctx, const Batch& batch, int begin, int end,
                                 float* residual) const {
  const std::int64_t T = batch.tokens(), D = config_.ends.d_model;
  const Pass pass = pass_of(ctx, batch, inverse_frequencies_);
  std::size_t side_by_side = 1;
  for (const Block& block : config_.blocks) {
    if (block.parallel) side_by_side = std::max(side_by_side, block.branches.size());
  }
  std::vector<float*> outs;
  while (outs.size() < side_by_side) outs.push_back(ctx.arena.take<float>(T * D));

  const float* add = nullptr;
  for (int i = begin; i < end; ++i) {
    const Block& block = config_.blocks[static_cast<std::size_t>(i)];
    const std::vector<DecoderParts::Branch>& parts = parts_.blocks[static_cast<std::size_t>(i)];
    const Arena::Scope block_scope(ctx.arena);
    for (std::size_t b = 0; b < parts.size(); ++b) {
      float* const out = outs[block.parallel ? b : 0];
      std::visit(
          [&](const auto& op) {
            run(ctx, op, pass, normed(ctx, op, residual, add, parts[b].norm, T), out);
          },
          parts[b].op);
      if (block.branches[b].scale != 1) scale_rows(ctx, out, block.branches[b].scale, T, D);
      add = block.parallel ? nullptr : out;
    }
    if (!block.parallel) continue;
    float* const sum = outs[parts.size() - 1];
    for (std::size_t b = 0; b + 1 < parts.size(); ++b) add_rows(ctx, sum, outs[b], T, D);
    add = sum;
  }
  return add;
}

void Decoder::forward(Context& ctx, const Batch& batch, float* logits) const {
  if (batch.ids.empty()) return;
  const Arena::Scope scope(ctx.arena);
  reserve(batch);
  float* residual = embed(ctx, parts_.ends, batch);  // [T, D], f32 whatever the weights
  const float* add = run_blocks(ctx, batch, 0, static_cast<int>(config_.blocks.size()), residual);
  run_head(ctx, parts_.ends, batch, residual, add, logits);
  advance(batch);
}

void Decoder::forward_layers(Context& ctx, const Batch& batch, int begin, int end,
                             float* residual) const {
  const std::int64_t T = batch.tokens(), D = config_.ends.d_model;
  const auto layers = static_cast<int>(config_.blocks.size());
  const Arena::Scope scope(ctx.arena);
  reserve(batch);
  if (begin == 0) {
    copy_rows(ctx, f32_activation(embed(ctx, parts_.ends, batch), T, D),
              f32_activation(residual, T, D));
  }
  const float* add = run_blocks(ctx, batch, begin, std::min(end, layers), residual);
  if (end > layers) {
    run_head(ctx, parts_.ends, {batch.ids, batch.cu_seqlens, batch.states}, residual, add, nullptr);
  } else if (add) {
    add_rows(ctx, residual, add, T, D);
  }
  advance(batch);
}

}  // namespace krait
