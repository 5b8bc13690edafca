// The table of families: adding one is a file beside this and a row here.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "models/decoder_config.h"
#include "models/model_files.h"

namespace krait {

/// The published sizes of a family: config.json as Hugging Face has it, by name.
struct PublishedShapes {
  std::span<const std::string_view> names;
  Json (*config)(std::string_view name);  ///< of one of the names
};

struct Family {
  std::string_view architecture;    ///< config.json's "architectures"
  std::string_view model_type;      ///< config.json's "model_type"
  std::string_view original_layer;  ///< ssm_cfg.layer of state-spaces' own configs, or ""
  /// Errors: bad_data, unsupported.
  DecoderConfig (*read)(const ModelFiles& files);
  PublishedShapes shapes;
  /// Suffixes of tensors that are no weights: buffers that training left behind.
  std::span<const std::string_view> ignored = {};
};

std::span<const Family* const> families() noexcept;

/// What a family makes of published shapes, without tensors.
DecoderConfig read_published(const Family& family, const Json& config);

/// The row that config.json asks for: by model_type, else by architectures, else (a config of the
/// original state-spaces code) by ssm_cfg.layer. Error: unsupported, with the known ones.
const Family& find_family(const Json& config);

/// What recipes may select: each role of weights, parameters and activations of all families, with
/// its module and kind.
struct KnownRole {
  std::string role, module, kind;
  auto operator<=>(const KnownRole&) const = default;
};
const std::vector<KnownRole>& known_roles();

}  // namespace krait
