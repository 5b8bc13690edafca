// What a family's reader is given, and what all of them read alike.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"
#include "io/tensor_source.h"
#include "models/decoder_config.h"
#include "models/tensor_check.h"

namespace krait {

using Keys = std::initializer_list<std::string_view>;

/// A checkpoint's config.json and the names and shapes of its tensors. Of published shapes there
/// are no tensors. Errors of all: bad_data, unsupported.
struct ModelFiles {
  const Json& config;
  const TensorCheck& shapes;
  const TensorSource& tensors;

  bool has(const std::string& tensor) const { return shapes.find(tensor) != nullptr; }
  /// Dimension `axis` of a tensor, if it is there, of rank `rank` and a multiple of `divisor`;
  /// divided by it.
  std::optional<std::int64_t> dim(const std::string& tensor, int rank, int axis,
                                  std::int64_t divisor = 1) const;
  /// Refuses a hidden_act that is none of `known`. "" if there is none.
  std::string activation(Keys known) const;
  /// config.json's number of layers, else one more than the highest i for which prefix + i + suffix
  /// is a tensor.
  std::int64_t layers(std::string_view prefix, std::string_view suffix) const;
  /// The two ends: vocabulary and width from the table where config.json does not say, a head that
  /// is tied if it is absent (unless config.json denies it) or the same as the table.
  EndsSpec ends(std::string table, std::string head, NormSpec norm) const;
  /// Heads and width of attention; heads of keys are told by `k_proj` where config.json does not.
  AttentionSpec attention(std::int64_t d_model, const std::string& k_proj) const;
  /// Lower and upper bound of the time step of Mamba-2, if config.json has them.
  void read_time_step_limit(Mamba2Spec& spec) const;
  /// rope_parameters, or the keys of before: dims from partial_rotary_factor (or `share_key`) of
  /// head_dim, base from rope_theta (or `base_key`). Scalings are refused.
  RopeSpec rope(std::int64_t head_dim, std::string_view share_key, double share,
                std::string_view base_key) const;
};

/// The first that there is. Errors: bad_data, naming `what`, if there is none or it is no size.
std::int64_t size_of_model(std::initializer_list<std::optional<std::int64_t>> told,
                           std::string_view what);

/// Convolutions of more taps have no kernel: unsupported.
void check_taps(std::int64_t d_conv);

}  // namespace krait
