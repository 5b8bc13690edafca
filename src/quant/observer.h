// Observers turn the values that an activation site takes during calibration into one static scale.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/recipe.h"

namespace krait {

/// The clipping point m of one tensor; scale = m / 127. update() is called once per calibration
/// sample with all values of the site in that sample.
class Observer {
 public:
  virtual ~Observer() = default;
  void update(std::span<const float> values);
  /// The scale, at least 1e-6 / 127. Errors: bad_data naming `site` if it saw no value, or NaN or
  /// an infinity.
  float scale(std::string_view site) const;

 protected:
  /// `values` is not empty and finite, `absmax` its largest magnitude.
  virtual void observe(std::span<const float> values, float absmax) = 0;
  virtual double clip() const = 0;  ///< m

 private:
  bool seen_ = false, finite_ = true;
};

/// Errors: invalid_argument for an unknown name, with the known ones.
///   absmax      m = the largest |x| of all samples.
///   percentile  per sample p_i = the `percentile` quantile of |x| over all values, interpolated
///               linearly between neighbours; m = p_0, then m += averaging (p_i - m)
///               (Chiang et al. 2024, arXiv 2410.13229).
///   mse         m minimises the squared error of rounding and clipping over all samples, see
///               docs/methods/calibration.md (after Sakr et al. 2022, arXiv 2206.06501).
std::unique_ptr<Observer> make_observer(const ObserverArgs& args);

std::string known_observers();  ///< "absmax, mse, percentile"
void check_observer_name(const std::string& name, const std::string& where);

}  // namespace krait
