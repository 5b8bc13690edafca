#include "models/describe.h"

#include <cstring>

#include "core/check.h"
#include "models/config.h"
#include "models/model.h"

namespace krait {
namespace {

bool same_bytes(const TensorSource& tensors, const std::string& a, const std::string& b) {
  const Tensor x = tensors.get(a), y = tensors.get(b);
  if (x.dtype() != y.dtype() || x.shape() != y.shape()) return false;
  return x.view().data == y.view().data ||
         std::memcmp(x.view().data, y.view().data, x.bytes()) == 0;
}

int add_site(const SiteWriter& to, std::string_view role, std::int64_t channels, bool is_state,
             bool rotatable) {
  to.layout.activations.push_back(
      {to.prefix + std::string(role), std::string(role), to.layer, channels, is_state, rotatable});
  return static_cast<int>(to.layout.activations.size()) - 1;
}

}  // namespace

int SiteWriter::activation(std::string_view role, std::int64_t channels) const {
  return add_site(*this, role, channels, false, false);
}

int SiteWriter::rotatable(std::string_view role, std::int64_t channels) const {
  return add_site(*this, role, channels, false, true);
}

int SiteWriter::state(std::string_view role, std::int64_t channels) const {
  return add_site(*this, role, channels, true, false);
}

int SiteWriter::cache(std::string_view role, std::int64_t channels) const {
  const int site = state(role, channels);
  layout.activations.back().is_cache = true;
  return site;
}

ActivationSite& SiteWriter::grouped(int site, std::int64_t groups) const {
  ActivationSite& described = layout.activations[static_cast<std::size_t>(site)];
  described.groups = groups;
  return described;
}

int SiteWriter::normed(int site, std::string_view norm) const {
  layout.activations[static_cast<std::size_t>(site)].norm = norm;
  return site;
}

void SiteWriter::linear(std::string_view role, std::int64_t rows, std::int64_t cols, int input_site,
                        bool has_bias) const {
  layout.linears.push_back(
      {prefix + std::string(role), std::string(role), layer, rows, cols, input_site, has_bias, ""});
}

void SiteWriter::residual_linear(std::string_view role, std::int64_t rows, std::int64_t cols,
                                 int input_site, bool has_bias) const {
  linear(role, rows, cols, input_site, has_bias);
  layout.linears.back().adds_to_residual = true;
}

void SiteWriter::param(std::string_view name, const Shape& shape) const {
  layout.params.push_back({prefix + std::string(name), std::string(name), layer, shape, true});
}

void SiteWriter::norm(std::string_view name, std::string_view role, std::int64_t channels) const {
  layout.params.push_back(
      {prefix + std::string(name), std::string(role), layer, {channels}, false});
}

void Vote::add(std::int64_t value) {
  if (value > 0) ++counts_[value];
}

void Vote::add(const TensorInfo* info, int rank, int dim, std::int64_t divisor) {
  if (info && info->shape.rank() == rank && info->shape[dim] % divisor == 0) {
    add(info->shape[dim] / divisor);
  }
}

std::int64_t Vote::result(std::optional<std::int64_t> from_config, std::string_view what) const {
  std::int64_t best = from_config.value_or(0);
  int votes = from_config && counts_.contains(best) ? counts_.at(best) : 0;
  for (const auto& [value, count] : counts_) {
    if (count > votes) {
      best = value;
      votes = count;
    }
  }
  check(best >= 1 && best < (std::int64_t{1} << 31), ErrorCode::bad_data,
        "neither config.json nor the tensors tell {} (got {})", what, best);
  return best;
}

std::int64_t count_layers(const Json& config, const TensorCheck& tensors, std::string_view prefix,
                          std::string_view suffix) {
  std::int64_t layers = 0;
  if (const auto given = config_dim(config, {"num_hidden_layers", "n_layer", "n_layers"})) {
    layers = *given;
  } else {
    while (tensors.find(fmt::format("{}{}{}", prefix, layers, suffix))) ++layers;
  }
  check(layers >= 1 && layers <= static_cast<std::int64_t>(tensors.size()), ErrorCode::bad_data,
        "config.json: num_hidden_layers {} cannot be, the checkpoint holds {} tensors", layers,
        tensors.size());
  return layers;
}

bool head_is_tied(const Json& config, const TensorSource& tensors, const std::string& table,
                  const std::string& head) {
  for (const char* form : {".weight_packed", ".weight_codes", ".weight_trits"}) {
    if (tensors.contains(head + form)) return false;
  }
  if (!tensors.contains(head + ".weight")) {
    const auto original = config_bool(config, "tie_embeddings");
    return config_bool(config, "tie_word_embeddings").value_or(original.value_or(true));
  }
  if (tensors.contains(head + ".weight_scale") || !tensors.contains(table + ".weight"))
    return false;
  return same_bytes(tensors, table + ".weight", head + ".weight");
}

namespace {

std::string module_of(const std::string& role) {
  if (role == "embeddings" || role == "lm_head" || role == "norm_f") return "ends";
  for (const char* name : {"query_key_value", "dense", "q_proj", "k_proj", "v_proj", "o_proj"}) {
    if (role == name) return "attention";
  }
  for (const char* name :
       {"dense_h_to_4h", "dense_4h_to_h", "gate_proj", "up_proj", "down_proj", "router"}) {
    if (role == name) return "mlp";
  }
  return "mamba";
}

void assign_kinds(ModelLayout& layout) {
  for (ActivationSite& site : layout.activations) {
    site.kind = site.is_cache ? "cache" : site.is_state ? "state" : "value";
    site.module = site.is_cache ? "attention" : "mamba";
  }
  for (LinearSite& site : layout.linears) {
    site.module = module_of(site.role);
    site.kind = site.input_site < 0       ? "table"
                : site.module == "ends"   ? "head"
                : site.role == "router"   ? "router"
                                          : "product";
    if (site.input_site < 0) continue;
    ActivationSite& input = layout.activations[static_cast<std::size_t>(site.input_site)];
    input.kind = site.kind + ".input";
    input.module = site.module;
  }
  for (ParamSite& site : layout.params) {
    site.module = module_of(site.role);
    site.kind = site.quantizable ? "parameter" : "norm";
  }
}

}  // namespace

void check_layout(const Json& config, TensorCheck& tensors, ModelLayout& layout) {
  assign_kinds(layout);
  const auto numerics = parse_numerics(config, layout);
  for (const LinearSite& site : layout.linears) tensors.expect(site);
  for (const ParamSite& site : layout.params) tensors.expect(site);
  for (const ActivationSite& site : layout.activations) {
    const auto it = numerics.find(site.role);
    if (it == numerics.end()) continue;
    const QuantArgs& args = it->second.args;
    if (it->second.quantized && !args.dynamic && !args.is_float) {
      if (args.strategy == Strategy::group) {
        tensors.expect_group_scale(site);
      } else {
        tensors.expect_scale(site, args.strategy == Strategy::channel);
      }
    }
  }
  // The duplicate of a tied table, as the original checkpoints have it, is used by being equal.
  LinearSite head = layout.linears.back();
  if (!head.tied_to.empty() && tensors.find(head.name + ".weight")) {
    head.tied_to.clear();
    tensors.expect(head);
  }
  tensors.finish(layout.info.architecture);

  layout.info.parameters = 0;
  for (const LinearSite& site : layout.linears) {
    if (site.tied_to.empty()) {
      layout.info.parameters += site.rows * site.cols + (site.has_bias ? site.rows : 0);
    }
  }
  for (const ParamSite& site : layout.params) layout.info.parameters += site.shape.elements();
}

}  // namespace krait
