#include "models/visitor.h"

namespace krait {

void Visitor::norm(Norm& to, const NormSpec& spec, std::int64_t channels, std::string_view role) {
  to.eps = spec.eps;
  const auto part = [&](Tensor& tensor, const char* suffix, Init init) {
    param(tensor, {.name = prefix + spec.name + suffix,
                   .role = std::string(role),
                   .kind = "norm",
                   .shape = {channels},
                   .quantizable = false,
                   .init = init});
  };
  part(to.weight, ".weight", Init::ones);
  if (spec.has_bias) part(to.bias, ".bias", Init::zeros);
}

}  // namespace krait
