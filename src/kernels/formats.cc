#include "kernels/formats.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace krait {
namespace {

using enum Format::Needs;
using enum Format::Where;

constexpr std::string_view kFloats = "table head product router parameter norm";
constexpr std::string_view kMatrices = "table head product router";
constexpr std::string_view kWeights = "table head product router parameter";
constexpr std::string_view kInputs = "product.input head.input router.input";
constexpr std::string_view kWords = "products decode words of two rows; inputs must be int8";

constexpr Format kFormats[] = {
    {kFloats, "f32", "read as it lies"},
    {kFloats, "f16", "widened while it is read"},
    {kFloats, "bf16", "widened while it is read"},
    {kWeights, "int8/tensor", "one scale"},
    {kMatrices, "int8/channel", "a scale per row"},
    {"parameter", "int8/channel", "a convolution takes a scale per channel", filter},
    {kWeights, "int8/part", "a scale per part, stored per row; without parts int8/tensor", parts},
    {"head product router", "int4/groupN", "bf16 scales, no zero points; any inputs", columns_8},
    {"table", "int4/groupN", "codes: rows are looked up in them", columns_16},
    {kMatrices, "int3/groupN", kWords, columns_16},
    {kMatrices, "int3/channel", kWords, columns_16},
    {kMatrices, "int2/groupN", kWords, columns_16},
    {kMatrices, "int2/channel", kWords, columns_16},
    {kMatrices, "trellis4/groupN", kWords, columns_16},
    {kMatrices, "trellis4/channel", kWords, columns_16},
    {kMatrices, "trellis3/groupN", kWords, columns_16},
    {kMatrices, "trellis3/channel", kWords, columns_16},
    {kMatrices, "trellis2/groupN", kWords, columns_16},
    {kMatrices, "trellis2/channel", kWords, columns_16},
    {kMatrices, "ternary/groupN", "five digits a byte; inputs must be int8", columns_16},
    {kMatrices, "ternary/channel", "five digits a byte; inputs must be int8"},

    {kInputs, "int8/tensor", "one scale from calibration"},
    {kInputs, "int8/tensor/dynamic", "one scale for the tokens of a call"},
    {kInputs, "int8/token/dynamic", "a scale per token"},
    {kInputs, "int8/token/dynamic/outliers", "splits off what is large; weights not in groups"},
    {"value", "int8/tensor", "one scale from calibration"},
    {"value", "int8/channel", "what no product reads may have a scale per channel"},
    {"value", "int8/group", "stored as int8/channel", groups, recipe},
    {"value", "int8/tensor/dynamic", "one scale for the tokens of a call"},
    {"value", "int8/token/dynamic", "a scale per token"},
    {"state cache", "f16", "rounded after every token"},
    {"state", "int8/tensor", "one scale from calibration"},
    {"state", "int8/channel", "a scale per channel from calibration"},
    {"state", "int8/group", "a scale per cluster of channels and state", state_rows},
    {"state", "int8/channel/dynamic", "a scale per row, measured every 16 tokens", state_rows},
    {"cache", "int8/token/dynamic", "a scale per token and head"},
};

bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

/// "int4/group64" is one of "int4/groupN".
bool is_called(const Format& format, std::string_view name) {
  if (!format.name.ends_with("groupN")) return format.name == name;
  const std::string_view stem = format.name.substr(0, format.name.size() - 1);
  const std::string_view size = name.substr(std::min(stem.size(), name.size()));
  return name.starts_with(stem) && (size == "32" || size == "64" || size == "128");
}

/// What the site lacks for the format; "": nothing.
std::string missing(const Format& format, const FormatSite& site, Format::Where where) {
  switch (format.needs) {
    case nothing:
      break;
    case parts:
      return site.has_parts ? "" : "rows that make several values";
    case groups:
      return site.has_groups ? "" : "channels in groups";
    case state_rows:
      return site.has_state_rows ? "" : "a state of Mamba-2";
    case filter:
      return site.rank == 3 ? "" : "the weights of a convolution";
    case columns_8:
    case columns_16: {
      const int multiple = format.needs == columns_8 ? 8 : 16;
      if (site.cols % multiple == 0) return "";
      return fmt::format("a multiple of {} columns, and there are {}", multiple, site.cols);
    }
  }
  // Calibration of such a state is by groups: each is a part of the channels.
  if (where == recipe && site.has_state_rows && format.name == "int8/channel") {
    return "a state that is not kept by rows";
  }
  return "";
}

std::string_view words_of(Format::Needs needs) {
  switch (needs) {
    case nothing:
      return "";
    case parts:
      return "rows that make several values";
    case groups:
      return "channels in groups";
    case state_rows:
      return "a state of Mamba-2";
    case filter:
      return "weights of a convolution";
    case columns_8:
      return "a multiple of 8 columns";
    case columns_16:
      return "a multiple of 16 columns";
  }
  return "";
}

}  // namespace

std::span<const Format> formats() noexcept { return kFormats; }

std::string format_name(const QuantArgs& args, bool by_part) {
  std::string name;
  if (args.is_float) {
    name = fmt::format("f{}", args.bits);
  } else {
    name = args.codes == Codes::ternary   ? "ternary"
           : args.codes == Codes::trellis ? fmt::format("trellis{}", args.bits)
                                          : fmt::format("int{}", args.bits);
    name += fmt::format("/{}", by_part ? "part" : name_of(args.strategy));
    if (args.group_size > 0) {
      name += args.strategy == Strategy::group ? fmt::format("{}", args.group_size)
                                               : fmt::format("/group{}", args.group_size);
    }
  }
  if (args.dynamic) name += "/dynamic";
  if (args.outlier_threshold > 0) name += "/outliers";
  return name;
}

std::string_view format_name(DType dtype) noexcept {
  return dtype == DType::f16 ? "f16" : dtype == DType::bf16 ? "bf16" : "f32";
}

QuantArgs format_args(std::string_view name) {
  QuantArgs args;
  const auto next = [&] {
    const std::string_view word = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(word.size() + 1, name.size()));
    return word;
  };
  const std::string_view type = next(), shared = next();
  if (type == "f16") return {.bits = 16, .is_float = true};
  args.bits = type == "ternary" ? 2 : type.back() - '0';
  args.codes = type == "ternary"             ? Codes::ternary
               : type.starts_with("trellis") ? Codes::trellis
                                             : Codes::integer;
  args.strategy =
      parse_strategy(shared).value_or(shared == "part" ? Strategy::channel : Strategy::group);
  for (const char c : shared) {
    if (std::isdigit(static_cast<unsigned char>(c)))
      args.group_size = 10 * args.group_size + (c - '0');
  }
  args.dynamic = next() == "dynamic";
  return args;
}

std::vector<std::string> format_names(bool of_weights) {
  std::vector<std::string> names;
  for (const Format& format : kFormats) {
    const bool is_ours =
        is_weight_kind(format.kinds.substr(0, format.kinds.find(' '))) == of_weights;
    if (!is_ours || format.where == checkpoint || format.name.ends_with("/outliers")) continue;
    const bool has_sizes = format.name.ends_with("groupN");
    for (const char* size : {"32", "64", "128"}) {
      std::string name(format.name);
      if (has_sizes) name.replace(name.size() - 1, 1, size);
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

bool is_weight_kind(std::string_view kind) noexcept { return has_word(kFloats, kind); }

std::string format_refusal(const FormatSite& site, std::string_view name, Format::Where where) {
  std::vector<std::string_view> choices;
  std::string lack;
  for (const Format& format : kFormats) {
    const bool is_other = format.where != anywhere && format.where != where;
    if (is_other || !has_word(format.kinds, site.kind)) continue;
    const std::string what = missing(format, site, where);
    if (is_called(format, name)) {
      if (what.empty()) return "";
      lack = what;
    }
    if (what.empty()) choices.push_back(format.name);
  }
  if (!lack.empty()) return "it needs " + lack;
  return fmt::format("no kernel for that, there are: {}", fmt::join(choices, ", "));
}

std::string formats_markdown() {
  std::string text = "| kinds | format | needs | |\n|---|---|---|---|\n";
  for (const Format& format : kFormats) {
    std::string kinds;
    for (const char c : format.kinds) kinds += c == ' ' ? std::string(", ") : std::string(1, c);
    text += fmt::format("| {} | `{}` | {} | {} |\n", kinds, format.name, words_of(format.needs),
                        format.why);
  }
  return text;
}

}  // namespace krait
