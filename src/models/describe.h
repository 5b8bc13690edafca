// What the describe functions of the architectures share: writing sites, reading sizes, checking.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "models/layout.h"
#include "models/tensor_check.h"

namespace krait {

/// Appends the sites of one module to a layout. Names are the prefix and the role.
struct SiteWriter {
  ModelLayout& layout;
  std::string prefix;  ///< of the module's tensors: "backbone.layers.3.mixer."
  int layer;           ///< -1 outside the layers

  /// Returns the site's index, which linear() takes.
  int activation(std::string_view role, std::int64_t channels) const;
  int rotatable(std::string_view role, std::int64_t channels) const;
  int state(std::string_view role, std::int64_t channels) const;
  int cache(std::string_view role, std::int64_t channels) const;
  /// Makes groups of a site's channels.
  ActivationSite& grouped(int site, std::int64_t groups) const;
  /// Says that the site's value is what the norm of that name makes. Returns the site.
  int normed(int site, std::string_view norm) const;
  void linear(std::string_view role, std::int64_t rows, std::int64_t cols, int input_site,
              bool has_bias = false) const;
  /// A product whose output is added to the residual stream.
  void residual_linear(std::string_view role, std::int64_t rows, std::int64_t cols, int input_site,
                       bool has_bias = false) const;
  /// A parameter whose role is its name.
  void param(std::string_view name, const Shape& shape) const;
  /// A norm's weight or bias: never quantized. Its tensor is the prefix and `name`.
  void norm(std::string_view name, std::string_view role, std::int64_t channels) const;
};

/// A size that several tensors tell: the most frequent value wins, so that one misshaped tensor is
/// the one that is reported. config.json settles a tie and stands in where no tensor tells.
class Vote {
 public:
  void add(std::int64_t value);
  /// Dimension `dim` of a tensor of rank `rank`, divided by `divisor`.
  void add(const TensorInfo* info, int rank, int dim, std::int64_t divisor = 1);
  /// Errors: bad_data if nobody tells, or the value is no size.
  std::int64_t result(std::optional<std::int64_t> from_config, std::string_view what) const;

 private:
  std::map<std::int64_t, int> counts_;
};

/// The number of layers: config.json's (one of `keys`), else one more than the highest index i for
/// which prefix + i + suffix is a tensor. Errors: bad_data.
std::int64_t count_layers(const Json& config, const TensorCheck& tensors, std::string_view prefix,
                          std::string_view suffix);

/// Whether the head (`head`.weight) is the embedding table (`table`.weight). Absent: yes, unless
/// config.json denies it. Present (as the original checkpoints store it): if it is the same table.
bool head_is_tied(const Json& config, const TensorSource& tensors, const std::string& table,
                  const std::string& head);

/// Holds the tensors against the finished layout, static scales as config.json's numerics ask, and
/// counts the parameters. Errors: bad_data with all differences.
void check_layout(const Json& config, TensorCheck& tensors, ModelLayout& layout);

}  // namespace krait
