#include "models/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/trits.h"
#include "kernels/linear/linear.h"

namespace krait {
namespace {

/// True if an exponent is all ones: NaN or infinity. The loop has no exit so that it vectorizes.
template <typename Bits>
bool has_non_finite(const Bits* bits, std::int64_t n, Bits exponent) {
  unsigned found = 0;
  for (std::int64_t i = 0; i < n; ++i)
    found |= static_cast<unsigned>((bits[i] & exponent) == exponent);
  return found != 0;
}

bool has_non_finite(const TensorView& view, std::int64_t begin, std::int64_t end) {
  const std::int64_t n = end - begin;
  switch (view.dtype) {
    case DType::f32:
      return has_non_finite<std::uint32_t>(static_cast<const std::uint32_t*>(view.data) + begin, n,
                                           0x7f800000u);
    case DType::f16:
      return has_non_finite<std::uint16_t>(static_cast<const std::uint16_t*>(view.data) + begin, n,
                                           0x7c00u);
    case DType::bf16:
      return has_non_finite<std::uint16_t>(static_cast<const std::uint16_t*>(view.data) + begin, n,
                                           0x7f80u);
    default:
      return false;
  }
}

/// A scale for each of `rows`, from a tensor that holds one or that many.
Tensor expand_scale(const Tensor& scale, std::int64_t rows) {
  Tensor result(DType::f32, {rows});
  const std::span<float> out = result.mutable_as<float>();
  const std::span<const float> in = scale.as<float>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = in[in.size() == 1 ? 0 : i];
  return result;
}

}  // namespace

void check_finite(Context& ctx, const TensorSource& tensors,
                  std::span<const std::string_view> ignored) {
  std::string bad;
  const auto report = [&](const TensorInfo& info, const char* what) {
    bad +=
        fmt::format("{}{} {} holds {}", bad.empty() ? "" : "; ", info.name, info.shape.str(), what);
  };
  for (const TensorInfo& info : tensors.list()) {
    const auto is_suffix = [&](std::string_view suffix) { return info.name.ends_with(suffix); };
    if (!is_float(info.dtype) || std::ranges::any_of(ignored, is_suffix)) continue;
    const Tensor tensor = tensors.get(info.name);
    std::vector<char> found(static_cast<std::size_t>(ctx.threads.threads()), 0);
    ctx.threads.parallel_for(tensor.elements(), 1 << 16,
                             [&](std::int64_t begin, std::int64_t end, int part) {
                               if (has_non_finite(tensor.view(), begin, end))
                                 found[static_cast<std::size_t>(part)] = 1;
                             });
    if (std::find(found.begin(), found.end(), 1) != found.end()) {
      report(info, "NaN or infinity");
    } else if (info.name.ends_with("_scale") &&
               std::ranges::any_of(to_f32(tensor.view()).as<float>(),
                                   [](float s) { return !(s > 0); })) {
      report(info, "a scale that is not above 0");
    }
  }
  check(bad.empty(), ErrorCode::bad_data, "{}: {}", tensors.where(), bad);
}

namespace {

/// weight_shape, which compressed-tensors needs where columns do not fill the last word.
void check_shape(const TensorSource& tensors, const std::string& name, const LinearSite& site) {
  const Tensor shape = tensors.get(name);
  std::int64_t dims[2];
  if (shape.dtype() == DType::i64) {
    std::memcpy(dims, shape.view().data, sizeof dims);
  } else {
    std::int32_t narrow[2];
    std::memcpy(narrow, shape.view().data, sizeof narrow);
    std::copy_n(narrow, 2, dims);
  }
  check(dims[0] == site.rows && dims[1] == site.cols, ErrorCode::bad_data,
        "{}: {} should say [{}, {}] but says [{}, {}]", tensors.where(), name, site.rows, site.cols,
        dims[0], dims[1]);
}

/// NAME.weight_packed and its companions. Nothing but the packed form is kept, if there is one.
Weight load_4bit(Context& ctx, const TensorSource& tensors, const LinearSite& site, bool packed) {
  const std::string name = site.name + ".weight";
  check_shape(tensors, name + "_shape", site);
  Weight weight;
  weight.name = site.name;
  weight.data = tensors.get(name + "_packed");
  weight.scale = tensors.get(name + "_scale");
  weight.strategy = Strategy::group;
  weight.group_size = static_cast<int>(site.cols / weight.scale.shape()[1]);
  if (site.has_bias) weight.bias = to_f32(tensors.get(site.name + ".bias").view());
  check_linear(weight, name);
  if (!packed && weight.scale.dtype() == DType::bf16) return weight;
  pack(ctx, weight);
  tensors.release(name + "_packed");
  weight.data = Tensor(TensorView{nullptr, DType::i32, weight.data.shape()}, nullptr);
  weight.scale = {};
  return weight;
}

/// int8 weights as they are multiplied: no second copy is kept beside the packed form.
void finish_int8(Context& ctx, Weight& weight, bool packed) {
  check_linear(weight, weight.name + ".weight");
  if (!packed) return;
  pack(ctx, weight);
  weight.data = Tensor(TensorView{nullptr, DType::i8, weight.data.shape()}, nullptr);
}

/// Scales of codes [rows, groups] for groups that the kernels take: where they are too wide each is
/// cut into the fewest that are not, with the same scale.
Tensor cut_groups(const Tensor& scale, std::int64_t cols) {
  const std::int64_t rows = scale.shape()[0], groups = scale.shape()[1];
  std::int64_t cuts = 1;
  while (cols / (groups * cuts) > kMaxCodeGroup || cols % (groups * cuts * 16) != 0) ++cuts;
  if (cuts == 1) return scale;
  Tensor result(DType::bf16, {rows, groups * cuts});
  const std::span<std::uint16_t> out = result.mutable_as<std::uint16_t>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = scale.as<std::uint16_t>()[i / static_cast<std::size_t>(cuts)];
  }
  return result;
}

/// Codes as they are multiplied. Only the shapes are kept beside the packed form.
void finish_codes(Context& ctx, Weight& weight, bool packed) {
  const std::int64_t cols = weight.cols();
  weight.scale = cut_groups(weight.scale, cols);
  weight.strategy = Strategy::group;
  weight.group_size = static_cast<int>(cols / weight.scale.shape()[1]);
  check_linear(weight, weight.name + ".weight");
  if (!packed) return;
  pack(ctx, weight);
  weight.data = Tensor(TensorView{nullptr, DType::u8, weight.data.shape()}, nullptr);
  weight.scale = Tensor(TensorView{nullptr, DType::bf16, weight.scale.shape()}, nullptr);
}

/// NAME.weight_codes and its companions.
Weight load_codes(Context& ctx, const TensorSource& tensors, const LinearSite& site, bool packed) {
  const std::string name = site.name + ".weight";
  check_shape(tensors, name + "_shape", site);
  Weight weight;
  weight.name = site.name;
  weight.data = tensors.get(name + "_codes");
  weight.code_bits = static_cast<int>(weight.data.shape()[1] * 4 / site.cols);
  weight.table = tensors.get(name + "_table");
  weight.scale = tensors.get(name + "_scale");
  if (site.has_bias) weight.bias = to_f32(tensors.get(site.name + ".bias").view());
  finish_codes(ctx, weight, packed);
  if (!packed) return weight;
  for (const std::string_view part : {"_codes", "_scale"}) {
    tensors.release(fmt::format("{}{}", name, part));
  }
  return weight;
}

/// Ternary codes of core/weight.h, 0, 1 and 3 for 0, 1 and -1: u8 [ceil(rows / 2), cols / 2], a
/// byte for two columns of two rows.
Tensor codes_of(std::span<const std::int8_t> digits, std::int64_t rows, std::int64_t cols) {
  Tensor codes(DType::u8, {(rows + 1) / 2, cols / 2});
  const std::span<std::uint8_t> out = codes.mutable_as<std::uint8_t>();
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      const unsigned own =
          static_cast<unsigned>(digits[static_cast<std::size_t>(r * cols + c)]) & 3;
      std::uint8_t& byte = out[static_cast<std::size_t>((r / 2 * cols + c) / 2)];
      const unsigned shift = static_cast<unsigned>(c % 2 * 4 + r % 2 * 2);
      byte = static_cast<std::uint8_t>((r % 2 + c % 2 == 0 ? 0 : byte) | own << shift);
    }
  }
  return codes;
}

/// The entry of a window of 6 bits, of which the lowest two are the weight's own.
Tensor ternary_table() {
  Tensor table(DType::i8, {64});
  for (std::size_t w = 0; w < 64; ++w) {
    table.mutable_as<std::int8_t>()[w] = std::array<std::int8_t, 4>{0, 1, 0, -1}[w % 4];
  }
  return table;
}

/// NAME.weight_trits and its companions: codes, or int8 by row where the columns fill no words.
Weight load_trits(Context& ctx, const TensorSource& tensors, const LinearSite& site, bool packed) {
  const std::string name = site.name + ".weight";
  check_shape(tensors, name + "_shape", site);
  const Tensor trits = tensors.get(name + "_trits"), scale = tensors.get(name + "_scale");
  Tensor digits(DType::i8, {site.rows, site.cols});
  const auto count = static_cast<std::size_t>(digits.elements());
  std::vector<char> bad(static_cast<std::size_t>(ctx.threads.threads()), 0);
  ctx.threads.parallel_for(
      trits.elements(), 1 << 14, [&](std::int64_t begin, std::int64_t end, int thread) {
        const auto first = static_cast<std::size_t>(begin), last = static_cast<std::size_t>(end);
        const std::span<std::int8_t> out = digits.mutable_as<std::int8_t>();
        if (!unpack_trits(trits.as<std::uint8_t>().subspan(first, last - first),
                          out.subspan(5 * first, std::min(5 * last, count) - 5 * first))) {
          bad[static_cast<std::size_t>(thread)] = 1;
        }
      });
  check(std::ranges::find(bad, 1) == bad.end(), ErrorCode::bad_data,
        "{}: {}_trits: expected bytes of five ternary digits, at most {}, and zeros beyond the "
        "{} of the matrix, got others",
        tensors.where(), name, kMaxTrits, count);
  Weight weight;
  weight.name = site.name;
  if (site.has_bias) weight.bias = to_f32(tensors.get(site.name + ".bias").view());
  if (site.cols % 16 == 0) {
    weight.data = codes_of(digits.as<std::int8_t>(), site.rows, site.cols);
    weight.code_bits = 2;
    weight.table = ternary_table();
    weight.scale = scale;
    finish_codes(ctx, weight, packed);
  } else {
    weight.data = std::move(digits);
    weight.strategy = Strategy::channel;
    weight.scale = expand_scale(to_f32(scale.view()), site.rows);
    finish_int8(ctx, weight, packed);
  }
  tensors.release(name + "_trits");
  return weight;
}

}  // namespace

Weight load_weight(Context& ctx, const TensorSource& tensors, const LinearSite& site, bool packed) {
  if (tensors.contains(site.name + ".weight_codes")) {
    return load_codes(ctx, tensors, site, packed);
  }
  if (tensors.contains(site.name + ".weight_trits")) {
    return load_trits(ctx, tensors, site, packed);
  }
  if (!tensors.contains(site.name + ".weight") && tensors.contains(site.name + ".weight_packed")) {
    return load_4bit(ctx, tensors, site, packed);
  }
  Weight weight;
  weight.name = site.name;
  weight.data = tensors.get(site.name + ".weight");
  if (site.has_bias) weight.bias = to_f32(tensors.get(site.name + ".bias").view());
  if (weight.data.dtype() == DType::i8) {
    const Tensor scale = tensors.get(site.name + ".weight_scale");
    weight.strategy = scale.elements() == 1 ? Strategy::tensor : Strategy::channel;
    weight.scale = expand_scale(scale, scale.elements());  // [rows, 1] on disk, [rows] here
  }
  if (weight.data.dtype() != DType::i8) {
    check_linear(weight, site.name + ".weight");
    return weight;
  }
  finish_int8(ctx, weight, packed);
  tensors.release(site.name + ".weight");
  return weight;
}

Tensor load_param(const TensorSource& tensors, const ParamSite& site) {
  const Tensor data = tensors.get(site.name);
  if (data.dtype() != DType::i8) return to_f32(data.view());
  const std::int64_t rows = site.shape[0];
  const Tensor scale = expand_scale(tensors.get(site.name + "_scale"), rows);
  const std::int64_t per_row = rows == 0 ? 0 : site.shape.elements() / rows;
  Tensor result(DType::f32, site.shape);
  const std::span<float> out = result.mutable_as<float>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = scale.as<float>()[i / static_cast<std::size_t>(per_row)] *
             static_cast<float>(data.as<std::int8_t>()[i]);
  }
  return result;
}

namespace {

/// Rows [begin, end) of [channels, 1, K], transposed.
template <typename T>
Tensor transposed(const Tensor& from, std::int64_t begin, std::int64_t end) {
  const std::int64_t taps = from.shape()[2], channels = end - begin;
  Tensor result(from.dtype(), {taps, channels});
  const std::span<T> out = result.mutable_as<T>();
  const std::span<const T> in = from.as<T>();
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t k = 0; k < taps; ++k) {
      out[static_cast<std::size_t>(k * channels + c)] =
          in[static_cast<std::size_t>((begin + c) * taps + k)];
    }
  }
  return result;
}

Tensor part(const Tensor& from, std::int64_t begin, std::int64_t end) {
  Tensor result(DType::f32, {end - begin});
  std::copy_n(from.as<float>().data() + begin, end - begin, result.mutable_as<float>().data());
  return result;
}

}  // namespace

ConvWeight load_conv(const TensorSource& tensors, const ParamSite& weight, const ParamSite* bias,
                     bool keep_int8, std::int64_t begin, std::int64_t end) {
  const Tensor data = tensors.get(weight.name);
  ConvWeight conv;
  if (data.dtype() == DType::i8 && keep_int8) {
    conv.data = transposed<std::int8_t>(data, begin, end);
    const Tensor scale = expand_scale(tensors.get(weight.name + "_scale"), weight.shape[0]);
    conv.scale = part(scale, begin, end);
  } else {
    conv.data = transposed<float>(load_param(tensors, weight), begin, end);
  }
  if (bias) conv.bias = part(load_param(tensors, *bias), begin, end);
  return conv;
}

Site numeric_site(const ModelLayout& layout, int index,
                  const std::map<std::string, ActivationNumerics>& numerics) {
  const ActivationSite& described = layout.activations[static_cast<std::size_t>(index)];
  Site site{.index = index, .name = described.name, .channels = described.channels};
  const auto it = numerics.find(described.role);
  if (it != numerics.end()) site.numerics = it->second;
  return site;
}

void load_scales(const TensorSource& tensors, const ModelLayout& layout, Site& site) {
  if (!site.is_static_int8()) return;
  const Tensor scale = tensors.get(site.name + "_scale");
  if (site.numerics.args.strategy == Strategy::group) {
    site.scale = scale;
    site.group = tensors.get(site.name + "_group");
    check(std::ranges::all_of(site.group.as<std::int32_t>(),
                              [&](std::int32_t g) { return g >= 0 && g < scale.shape()[0]; }),
          ErrorCode::bad_data, "{}_group: expected groups below {}", site.name, scale.shape()[0]);
  } else {
    const bool is_state = layout.activations[static_cast<std::size_t>(site.index)].is_state;
    site.scale = expand_scale(scale, is_state ? site.channels : scale.elements());
  }
}

void check_input(const Weight& weight, const LinearSite& site, const Site& input) {
  check(
      !weight.is_coded() || input.is_int8(), ErrorCode::unsupported,
      "{}.weight is stored as codes but quantization_config.krait.activations leaves its input in "
      "float, and no kernel multiplies the two",
      site.name);
  const char* what = weight.is_coded() ? "is stored as codes" : "has 4 bits";
  check((!weight.is_4bit() && !weight.is_coded()) || input.numerics.args.outlier_threshold == 0,
        ErrorCode::unsupported,
        "{}.weight {} but quantization_config.krait.activations gives its input an "
        "outlier_threshold, and no kernel multiplies the two",
        site.name, what);
}

std::size_t read_bytes(const Weight& weight) noexcept {
  return (weight.packed4        ? weight.packed4->lines.bytes()
          : weight.packed       ? weight.packed->tiles.bytes()
          : weight.packed_codes ? weight.packed_codes->lines.bytes()
                                : weight.data.bytes()) +
         weight.scale.bytes() * !weight.scale.empty() + weight.bias.bytes() * !weight.bias.empty();
}

}  // namespace krait
