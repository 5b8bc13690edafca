#include "eval/site_errors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/check.h"
#include "core/float16.h"
#include "eval/score.h"
#include "eval/windows.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/linear/linear.h"
#include "quant/moments.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

using Values = std::vector<float>;

constexpr std::int64_t kMostTokens = 256;     // that go through both models at a time
constexpr std::int64_t kElements = 32 << 20;  // of the reference's values meanwhile, about

/// A value in any numerics as f32 without gaps, [rows, cols].
Values values_of(const Activation& x) {
  if (x.dtype != DType::f16) return widened(x);
  Values values;
  for (std::int64_t row = 0; row < x.rows; ++row) {
    const auto* half = static_cast<const std::uint16_t*>(x.data) + row * x.stride;
    for (std::int64_t c = 0; c < x.cols; ++c) values.push_back(f16_to_f32(half[c]));
  }
  return values;
}

/// Sums over all values of a site, by channel.
struct Spread {
  double absmax = 0, count = 0, sum = 0, cubes = 0, fourths = 0;
  std::vector<double> squares;

  void add(std::span<const float> values, std::size_t channels) {
    squares.resize(channels);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double x = values[i], square = x * x;
      absmax = std::max(absmax, std::abs(x));
      sum += x;
      cubes += square * x;
      fourths += square * square;
      squares[i % channels] += square;
    }
    count += static_cast<double>(values.size());
  }
  ValueRange range() const {
    if (count == 0) return {};
    double total = 0, most = 0;
    for (const double energy : squares) {
      total += energy;
      most = std::max(most, energy);
    }
    const double mean = sum / count, second = total / count, variance = second - mean * mean;
    const double fourth = fourths / count - 4 * mean * cubes / count + 6 * mean * mean * second -
                          3 * mean * mean * mean * mean;
    return {.absmax = absmax,
            .rms = std::sqrt(second),
            .kurtosis = variance > 0 ? fourth / (variance * variance) : 0,
            .top_channel = total > 0 ? most * static_cast<double>(squares.size()) / total : 0};
  }
};

/// Sums of products of the reference's values f and the model's q, by channel.
struct Difference {
  std::vector<double> ff, fq, qq;

  void add(std::span<const float> f, std::span<const float> q, std::size_t channels) {
    for (auto* sums : {&ff, &fq, &qq}) sums->resize(channels);
    for (std::size_t i = 0; i < f.size(); ++i) {
      const double a = f[i], b = q[i];
      ff[i % channels] += a * a;
      fq[i % channels] += a * b;
      qq[i % channels] += b * b;
    }
  }
  double error(bool scaled) const {
    double error = 0, energy = 0;
    for (std::size_t c = 0; c < ff.size(); ++c) {
      energy += ff[c];
      if (!scaled) {
        error += ff[c] - 2 * fq[c] + qq[c];
      } else {
        error += ff[c] - (qq[c] > 0 ? fq[c] * fq[c] / qq[c] : 0);
      }
    }
    if (ff.empty()) return std::numeric_limits<double>::quiet_NaN();
    return energy > 0 ? std::max(error, 0.0) / energy : 0;
  }
};

/// Keeps the values of one pass: a site may be shown more than once.
class Recorder : public Tap {
 public:
  explicit Recorder(const Executor& executor)
      : threads_(executor.threads()),
        ctx_{threads_, microkernels(executor.isa()), arena_},
        model_(executor.model()) {}

  void observe(int site, const Activation& value) override {
    on_site(static_cast<std::size_t>(site), values_of(value), value.cols);
  }
  void product(const Weight& weight, const Activation& x) override {
    const Arena::Scope scope(arena_);
    Values y(static_cast<std::size_t>(x.rows * weight.rows()));
    linear(ctx_, weight, x, f32_activation(y.data(), x.rows, weight.rows()));
    on_product(weight.name, std::move(y), weight.rows());
  }

 protected:
  virtual void on_site(std::size_t site, Values values, std::int64_t channels) = 0;
  virtual void on_product(const std::string& name, Values values, std::int64_t channels) = 0;

  /// The Hadamard transform of a site taken back.
  void unrotate(std::size_t site, Values& values, std::int64_t channels) {
    const auto numerics = model_.numerics().find(model_.layout().activations[site].role);
    if (numerics == model_.numerics().end() || numerics->second.hadamard_block == 0) return;
    const auto rows = static_cast<std::int64_t>(values.size()) / channels;
    hadamard_inverse(ctx_, f32_activation(values.data(), rows, channels),
                     numerics->second.hadamard_block);
  }

 private:
  ThreadPool threads_;  // the executor's own are in the forward pass that is watched
  Arena arena_;
  Context ctx_;
  const Model& model_;
};

class ReferenceTap final : public Recorder {
 public:
  using Recorder::Recorder;
  std::map<std::size_t, std::vector<Values>> sites;     // of this pass
  std::map<std::string, std::vector<Values>> products;  // likewise
  std::map<std::size_t, Spread> spreads;                // of all passes

 private:
  void on_site(std::size_t site, Values values, std::int64_t channels) override {
    unrotate(site, values, channels);
    spreads[site].add(values, static_cast<std::size_t>(channels));
    sites[site].push_back(std::move(values));
  }
  void on_product(const std::string& name, Values values, std::int64_t) override {
    products[name].push_back(std::move(values));
  }
};

/// Holds the model's values against those that the reference had in the same pass.
class ModelTap final : public Recorder {
 public:
  ModelTap(const Executor& executor, const ReferenceTap& reference)
      : Recorder(executor), reference_(reference) {}
  void begin() {
    seen_sites_.clear();
    seen_products_.clear();
  }
  std::map<std::size_t, Spread> spreads;
  std::map<std::size_t, Difference> sites;
  std::map<std::string, Difference> products;

 private:
  /// Number `index` of the values there were, unless it is of another shape (experts).
  template <typename Map, typename Key>
  static const Values* find(const Map& map, const Key& key, std::size_t index, std::size_t size) {
    const auto found = map.find(key);
    if (found == map.end() || index >= found->second.size()) return nullptr;
    const Values& values = found->second[index];
    return values.size() == size ? &values : nullptr;
  }
  void on_site(std::size_t site, Values values, std::int64_t channels) override {
    const auto count = static_cast<std::size_t>(channels);
    spreads[site].add(values, count);
    unrotate(site, values, channels);
    const Values* f = find(reference_.sites, site, seen_sites_[site]++, values.size());
    if (f) sites[site].add(*f, values, count);
  }
  void on_product(const std::string& name, Values values, std::int64_t channels) override {
    const Values* f = find(reference_.products, name, seen_products_[name]++, values.size());
    if (f) products[name].add(*f, values, static_cast<std::size_t>(channels));
  }

  const ReferenceTap& reference_;
  std::map<std::size_t, std::size_t> seen_sites_;
  std::map<std::string, std::size_t> seen_products_;
};

void run(Executor& executor, std::span<const std::int32_t> ids, SequenceState& state, Tap& tap) {
  const Step step{state, ids};
  executor.run({&step, 1}, &tap);
}

bool same_layout(const ModelLayout& a, const ModelLayout& b) {
  const auto same_site = [](const ActivationSite& x, const ActivationSite& y) {
    return x.name == y.name && x.channels == y.channels;
  };
  return a.info.d_model == b.info.d_model &&
         std::equal(a.activations.begin(), a.activations.end(), b.activations.begin(),
                    b.activations.end(), same_site);
}

/// Products whose rows change places with heads and channels.
std::set<std::string> reordered_products(const ModelLayout& layout) {
  std::set<std::string> names;
  for (const HeadOrder& order : layout.head_orders) {
    for (const HeadOrder::Range& range : order.ranges) {
      constexpr std::string_view kWeight = ".weight";
      if (range.dim != 0 || !range.tensor.ends_with(kWeight)) continue;
      names.insert(range.tensor.substr(0, range.tensor.size() - kWeight.size()));
    }
  }
  return names;
}

}  // namespace

ChannelTransforms channel_transforms(const Json& config) {
  ChannelTransforms transforms;
  const Json steps = config.value("/quantization_config/krait/recipe/steps"_json_pointer, Json());
  if (!steps.is_array()) return transforms;
  for (const Json& step : steps) {
    if (!step.is_object()) continue;
    const Json name = step.value("name", Json()), site = step.value("site", Json());
    if (name == "cluster") transforms.reordered = true;
    if (name == "smooth" && site.is_string()) transforms.smoothed.insert(site.get<std::string>());
  }
  return transforms;
}

SiteErrors site_errors(const Engine& reference, const Engine& model,
                       const ChannelTransforms& transforms, std::span<const std::int32_t> ids,
                       std::int64_t seq_len, const ProgressFn& progress) {
  Executor &theirs = executor_of(reference), &ours = executor_of(model);
  const ModelLayout& layout = ours.model().layout();
  check(same_layout(theirs.model().layout(), layout), ErrorCode::invalid_argument,
        "the models have different layers and sites: {} against {}", reference.description(),
        model.description());
  check_scored_ids(ids, reference);
  std::int64_t channels = 0;
  for (const ActivationSite& site : layout.activations) channels += site.channels;
  for (const LinearSite& site : layout.linears) channels += site.rows;
  const auto most =
      static_cast<std::size_t>(std::clamp<std::int64_t>(kElements / channels, 1, kMostTokens));

  ReferenceTap watched(theirs);
  ModelTap compared(ours, watched);
  SequenceState reference_state = theirs.new_state(), model_state = ours.new_state();
  for_each_window(ids, seq_len, progress, [&](std::span<const std::int32_t> window) {
    reference_state.reset();
    model_state.reset();
    for (std::size_t first = 0; first < window.size(); first += most) {
      const auto part = window.subspan(first, std::min(most, window.size() - first));
      watched.sites.clear();
      watched.products.clear();
      compared.begin();
      run(theirs, part, reference_state, watched);
      run(ours, part, model_state, compared);
    }
  });

  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  const std::set<std::string> moved =
      transforms.reordered ? reordered_products(layout) : std::set<std::string>();
  SiteErrors result;
  for (std::size_t i = 0; i < layout.activations.size(); ++i) {
    const ActivationSite& site = layout.activations[i];
    SiteError entry{.name = site.name, .role = site.role, .layer = site.layer};
    const bool is_moved = transforms.reordered && site.channels != layout.info.d_model;
    entry.error =
        is_moved ? kUnknown : compared.sites[i].error(transforms.smoothed.contains(site.role));
    entry.before = watched.spreads[i].range();
    entry.after = compared.spreads[i].range();
    result.sites.push_back(std::move(entry));
  }
  for (const LinearSite& site : layout.linears) {
    if (site.input_site < 0) continue;  // the embedding table, which is looked up
    const bool by_table = !compared.products.contains(site.name) && !site.tied_to.empty();
    const std::string& name = by_table ? site.tied_to : site.name;
    if (!compared.products.contains(name)) continue;
    const double error =
        moved.contains(site.name) ? kUnknown : compared.products[name].error(false);
    result.products.push_back({site.name, site.role, site.layer, error});
  }
  return result;
}

}  // namespace krait
