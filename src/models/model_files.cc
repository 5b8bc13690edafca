#include "models/model_files.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "core/printable.h"
#include "models/config.h"

namespace krait {
namespace {

bool same_bytes(const TensorSource& tensors, const std::string& a, const std::string& b) {
  const Tensor x = tensors.get(a), y = tensors.get(b);
  if (x.dtype() != y.dtype() || x.shape() != y.shape()) return false;
  return x.view().data == y.view().data ||
         std::memcmp(x.view().data, y.view().data, x.bytes()) == 0;
}

/// Whether the head is the embedding table. Absent: yes, unless config.json denies it. Present (as
/// the original checkpoints store it): if it is the same table.
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

}  // namespace

std::optional<std::int64_t> ModelFiles::dim(const std::string& tensor, int rank, int axis,
                                            std::int64_t divisor) const {
  const TensorInfo* info = shapes.find(tensor);
  if (!info || info->shape.rank() != rank || info->shape[axis] % divisor != 0) return std::nullopt;
  const std::int64_t value = info->shape[axis] / divisor;
  return value > 0 ? std::optional(value) : std::nullopt;
}

std::string ModelFiles::activation(Keys known) const {
  std::string act = config_string(config, "hidden_act");
  check(act.empty() || std::ranges::find(known, act) != known.end(), ErrorCode::unsupported,
        "config.json: hidden_act {} is not supported, known {}: {}", printable(act),
        known.size() == 1 ? "is" : "are", fmt::join(known, ", "));
  return act;
}

std::int64_t ModelFiles::layers(std::string_view prefix, std::string_view suffix) const {
  std::int64_t layers = 0;
  if (const auto given = config_dim(config, {"num_hidden_layers", "n_layer", "n_layers"})) {
    layers = *given;
  } else {
    while (has(fmt::format("{}{}{}", prefix, layers, suffix))) ++layers;
  }
  constexpr std::int64_t kMost = 1000;  // where no tensor contradicts
  const auto most = shapes.size() > 0 ? static_cast<std::int64_t>(shapes.size()) : kMost;
  check(layers >= 1 && layers <= most, ErrorCode::bad_data,
        "config.json: num_hidden_layers {} cannot be, the checkpoint holds {} tensors", layers,
        shapes.size());
  return layers;
}

EndsSpec ModelFiles::ends(std::string table, std::string head, NormSpec norm) const {
  const std::string weight = table + ".weight";
  const auto vocabulary = config_dim(config, {"vocab_size"});
  EndsSpec ends;
  ends.vocab_rows = size_of_model({dim(weight, 2, 0), vocabulary}, "the vocabulary size");
  ends.vocab_size = std::min(vocabulary.value_or(ends.vocab_rows), ends.vocab_rows);
  ends.d_model =
      size_of_model({config_dim(config, {"hidden_size", "d_model", "dim"}), dim(weight, 2, 1)},
                    "hidden_size (d_model)");
  ends.tied = head_is_tied(config, tensors, table, head);
  ends.table = std::move(table);
  ends.head = std::move(head);
  ends.norm = std::move(norm);
  return ends;
}

AttentionSpec ModelFiles::attention(std::int64_t d_model, const std::string& k_proj) const {
  const auto heads = config_dim(config, {"num_attention_heads"});
  check(heads.has_value(), ErrorCode::bad_data, "config.json has no num_attention_heads");
  check(d_model % *heads == 0, ErrorCode::bad_data,
        "config.json: num_attention_heads {} does not divide hidden_size {}", *heads, d_model);
  AttentionSpec spec{.heads = *heads, .kv_heads = *heads, .head_dim = d_model / *heads};
  const auto given = config_dim(config, {"num_key_value_heads"});
  const auto told = dim(k_proj, 2, 0, spec.head_dim);
  spec.kv_heads = given.value_or(told.value_or(*heads));
  check(!told || *told == spec.kv_heads, ErrorCode::bad_data,
        "config.json: num_key_value_heads {}, but the tensors have {}", spec.kv_heads,
        told.value_or(0));
  check(spec.heads % spec.kv_heads == 0, ErrorCode::bad_data,
        "config.json: num_key_value_heads {} does not divide num_attention_heads {}", spec.kv_heads,
        spec.heads);
  return spec;
}

void ModelFiles::read_time_step_limit(Mamba2Spec& spec) const {
  const Json& ssm = config_object(config, "ssm_cfg");
  for (const auto& [object, key] : {std::pair(&config, "time_step_limit"), {&ssm, "dt_limit"}}) {
    const auto it = object->find(key);
    if (it == object->end() || it->is_null()) continue;
    float bounds[] = {-1, -1};
    for (std::size_t i = 0; it->is_array() && it->size() == 2 && i < 2; ++i) {
      const Json& bound = it->at(i);
      if (bound.is_number()) bounds[i] = bound.get<float>();
      // transformers 5 writes no Infinity, which JSON does not have.
      if (bound == Json{{"__float__", "Infinity"}}) {
        bounds[i] = std::numeric_limits<float>::infinity();
      }
    }
    check(bounds[0] >= 0 && bounds[0] <= bounds[1] && std::isfinite(bounds[0]), ErrorCode::bad_data,
          "config.json: {} must be two numbers, 0 <= low <= high, got {}", key,
          printable(it->dump(-1, ' ', true, Json::error_handler_t::replace), 40));
    spec.dt_min = bounds[0];
    spec.dt_max = bounds[1];
    return;
  }
}

RopeSpec ModelFiles::rope(std::int64_t head_dim, std::string_view share_key, double share,
                          std::string_view base_key) const {
  const Json& rope = config_object(config, "rope_parameters");
  for (const Json* scaling : {&rope, &config_object(config, "rope_scaling")}) {
    for (const char* key : {"rope_type", "type"}) {
      const std::string type = config_string(*scaling, key);
      check(type.empty() || type == "default", ErrorCode::unsupported,
            "config.json: rotary positions of type {} are not supported, known is: default",
            printable(type));
    }
  }
  const auto own = config_positive(rope, {"partial_rotary_factor"});
  const double factor = own ? *own : config_positive(config, {share_key}).value_or(share);
  check(factor <= 1, ErrorCode::bad_data,
        "config.json: {} (partial_rotary_factor) must be at most 1, got {}", share_key, factor);
  const auto base = config_positive(rope, {"rope_theta"});
  RopeSpec spec;
  spec.base = base ? *base : config_positive(config, {base_key, "rope_theta"}).value_or(10000);
  spec.dims = static_cast<std::int64_t>(static_cast<double>(head_dim) * factor);
  check(spec.dims % 2 == 0, ErrorCode::unsupported,
        "config.json: {} {} of {} channels are {}, an even number is expected", share_key, factor,
        head_dim, spec.dims);
  return spec;
}

std::int64_t size_of_model(std::initializer_list<std::optional<std::int64_t>> told,
                           std::string_view what) {
  const auto first = std::ranges::find_if(told, [](const auto& size) { return size.has_value(); });
  const std::int64_t size = first == told.end() ? 0 : **first;
  check(size >= 1 && size < (std::int64_t{1} << 31), ErrorCode::bad_data,
        "neither config.json nor the tensors tell {} (got {})", what, size);
  return size;
}

void check_taps(std::int64_t d_conv) {
  check(d_conv <= 16, ErrorCode::unsupported,
        "convolutions over {} tokens are not supported, at most 16 are", d_conv);
}

}  // namespace krait
