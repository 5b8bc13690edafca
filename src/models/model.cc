// From a checkpoint's config.json and tensors to a model: family, config, layout, parts.
#include "models/model.h"

#include "core/check.h"
#include "models/decoder.h"
#include "models/families/families.h"
#include "models/tensor_check.h"

namespace krait {
namespace {

/// Static scales as the numerics ask for them.
void expect_scales(const ModelLayout& layout,
                   const std::map<std::string, ActivationNumerics>& numerics, TensorCheck& shapes) {
  for (const ActivationSite& site : layout.activations) {
    const auto it = numerics.find(site.role);
    if (it == numerics.end()) continue;
    const QuantArgs& args = it->second.args;
    if (!it->second.quantized || args.dynamic || args.is_float) continue;
    if (args.strategy == Strategy::group) {
      shapes.expect_group_scale(site);
    } else {
      shapes.expect_scale(site, args.strategy == Strategy::channel);
    }
  }
}

struct Described {
  const Family& family;
  DecoderConfig decoder;
  ModelLayout layout;
  std::map<std::string, ActivationNumerics> numerics;
};

/// Reads config.json and holds the tensors against it.
Described describe(const Json& config, const TensorSource& tensors) {
  const Family& family = find_family(config);
  TensorCheck shapes(tensors);
  for (const std::string_view suffix : family.ignored) shapes.ignore(suffix);
  DecoderConfig decoder = family.read({config, shapes, tensors});
  ModelLayout layout = describe_decoder(decoder);
  layout.info.architecture = family.architecture;
  layout.info.model_type = family.model_type;
  auto numerics = parse_numerics(config, layout);
  for (const LinearSite& site : layout.linears) shapes.expect(site);
  for (const ParamSite& site : layout.params) shapes.expect(site);
  expect_scales(layout, numerics, shapes);
  // The duplicate of a tied table, as the original checkpoints have it, is used by being equal.
  LinearSite head = layout.linears.back();
  if (!head.tied_to.empty() && shapes.find(head.name + ".weight")) {
    head.tied_to.clear();
    shapes.expect(head);
  }
  shapes.finish(layout.info.architecture);
  return {family, std::move(decoder), std::move(layout), std::move(numerics)};
}

}  // namespace

ModelLayout describe_model(const Json& config, const TensorSource& tensors) {
  return describe(config, tensors).layout;
}

std::unique_ptr<Model> load_model(Context& ctx, const Json& config, const TensorSource& tensors,
                                  const LoadOptions& options) {
  Described d = describe(config, tensors);
  return std::make_unique<Decoder>(ctx, std::move(d.decoder), std::move(d.layout),
                                   std::move(d.numerics), tensors, d.family.ignored, options);
}

StateLayout state_layout_of(const Json& config, const TensorSource& tensors) {
  const Described d = describe(config, tensors);
  return describe_state(d.decoder, d.numerics);
}

}  // namespace krait
