// Activations of a forward pass: taken from the arena in the numerics of their sites.
#pragma once

#include <array>
#include <cstddef>

#include "kernels/linear/linear.h"
#include "models/weights.h"

namespace krait {

/// Room for `rows` tokens of a site, in its numerics; dynamic scales get their own room.
Activation take_site(Context& ctx, const Site& site, std::int64_t rows);

/// A static site's scale as an Activation wants it. Nothing writes to static scales.
float* static_scale(const Site& site) noexcept;

/// Shows a value to the tap of the context, in the host's memory.
void observe(const Context& ctx, const Site& site, const Activation& value);

/// f32 values as a site keeps them: rotated where its weights are, and quantized. The site is
/// observed. `values` may be the result, rotated in place.
Activation to_site(Context& ctx, const Site& site, const Activation& values);

/// What several sites take of one product's output: consecutive columns.
using Parts = std::span<const Site* const>;

/// Scales of all columns of `parts` if each is static int8, which lets the product write int8
/// directly; empty otherwise.
Tensor joint_scale(Parts parts);

/// y = x W^T, dealt out to the sites by columns: out[i] is parts[i]'s value in its numerics.
/// `joint` is joint_scale(parts).
void split_linear(Context& ctx, const Weight& weight, const Activation& x, Parts parts,
                  const Tensor& joint, std::span<Activation> out);

}  // namespace krait
