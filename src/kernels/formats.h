// Formats: the one place that says as which numbers a site can be kept, by the kind of the site.
// Recipes and checkpoints are checked with this table, errors and the documentation list it.
//
// A format's name:
//   f32 | f16 | bf16                        floats of that size
//   TYPE/SHARED[/dynamic][/outliers]        integers or codes, and what shares a scale
//   TYPE     int8 | int4 | int3 | int2 | ternary | trellis4 | trellis3 | trellis2
//   SHARED   tensor   all values
//            channel  a row of a weight, a column of an activation
//            part     the rows of a weight that make one of several values
//            groupN   N = 32, 64 or 128 columns of a row of a weight: at most, if that divides no
//            row group    channels of an activation that belong together token    a row of an
//            activation
//   dynamic  an activation's scale is measured on the fly; else it is static, found by calibration
//   outliers what is larger than outlier_threshold stays float
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/quant_args.h"

namespace krait {

/// What decides whether a kernel takes a site in a format.
struct FormatSite {
  std::string_view kind;        ///< models/layout.h
  std::int64_t cols = 0;        ///< of a matrix
  int rank = 2;                 ///< of a parameter
  bool has_parts = false;       ///< its rows make several values
  bool has_groups = false;      ///< its channels are groups
  bool has_state_rows = false;  ///< a state that is kept by rows: that of Mamba-2
};

struct Format {
  enum class Needs { nothing, parts, groups, state_rows, filter, columns_8, columns_16 };
  enum class Where { anywhere, recipe, checkpoint };  ///< who may ask for it

  std::string_view kinds;  ///< separated by spaces
  std::string_view name;   ///< with "groupN" for each of its sizes
  std::string_view why;    ///< what reads it, and how
  Needs needs = Needs::nothing;
  Where where = Where::anywhere;
};

std::span<const Format> formats() noexcept;

/// The name of integer or half numerics, whether there is such a format or not; and the numerics of
/// a name that format_names() has, but for f32, bf16 and weights' f16. A part is a channel there.
std::string format_name(const QuantArgs& args, bool by_part = false);
std::string_view format_name(DType dtype) noexcept;  ///< of floats
QuantArgs format_args(std::string_view name);

/// The names that recipes can write for weights, or for activations.
std::vector<std::string> format_names(bool of_weights);

/// Whether the kind is one of weights and parameters; the others are of activations.
bool is_weight_kind(std::string_view kind) noexcept;

/// "" if a site of that kind can be kept in the format of that name; otherwise the end of a
/// sentence that says what it lacks or lists the formats that there are.
std::string format_refusal(const FormatSite& site, std::string_view name, Format::Where where);

/// The table in Markdown, for the documentation.
std::string formats_markdown();

}  // namespace krait
