#include "models/tensor_check.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "core/check.h"
#include "core/printable.h"
#include "core/trits.h"

namespace krait {
namespace {

// What a message says of the differences, in bytes: a longer list helps nobody.
constexpr std::size_t kMessage = 440, kShortest = 200;

constexpr std::string_view kWeightCodes = ".weight_codes", kWeightTrits = ".weight_trits";
constexpr std::int64_t kMaxWords = std::int64_t{1} << 40;  // eight times that is still a dimension

/// What weight_shape says of a matrix stored as codes or ternary digits, whose own shape leaves
/// open how many bits a weight has, whether the number of rows is odd, or both dimensions; none if
/// it cannot be.
std::optional<Shape> shape_of_codes(const TensorSource& tensors, const std::string& weight) {
  if (!tensors.contains(weight + "_shape")) return std::nullopt;
  const Tensor shape = tensors.get(weight + "_shape");
  const bool is_wide = shape.dtype() == DType::i64;
  if ((!is_wide && shape.dtype() != DType::i32) || shape.shape() != Shape{2}) return std::nullopt;
  std::int64_t dims[2];
  std::int32_t narrow[2];
  std::memcpy(is_wide ? static_cast<void*>(dims) : narrow, shape.view().data, shape.bytes());
  if (!is_wide) std::copy_n(narrow, 2, dims);
  for (const std::int64_t dim : dims) {
    if (dim < 1 || dim > kMaxWords) return std::nullopt;
  }
  if (dims[0] > kMaxWords / dims[1]) return std::nullopt;
  return Shape{dims[0], dims[1]};
}

/// What the names in the file have before those that are wanted, or lack: "net." if most of
/// `wanted` are in `there` with it.
std::string common_prefix(const std::vector<std::string>& wanted,
                          const std::vector<std::string>& there) {
  for (const std::string& name : there) {
    if (!name.ends_with(wanted.front()) || name.size() == wanted.front().size()) continue;
    std::string prefix = name.substr(0, name.size() - wanted.front().size());
    const auto found = std::ranges::count_if(wanted, [&](const std::string& each) {
      return std::ranges::binary_search(there, prefix + each);
    });
    if (2 * found > std::ssize(wanted)) return prefix;
  }
  return "";
}

}  // namespace

TensorCheck::TensorCheck(const TensorSource& tensors) : where_(tensors.where()) {
  for (TensorInfo& info : tensors.list()) {
    std::string name = info.name;
    const Shape& shape = info.shape;
    constexpr std::string_view kPacked = "_packed";
    if (name.ends_with(kPacked) && shape.rank() == 2 && shape[1] <= kMaxWords) {
      const std::string weight = name.substr(0, name.size() - kPacked.size());
      unpacked_[weight] = {weight, info.dtype, {shape[0], shape[1] * 8}};
    } else if (name.ends_with(kWeightCodes) || name.ends_with(kWeightTrits)) {
      const std::string weight = name.substr(0, name.rfind('_'));
      if (const auto stored = shape_of_codes(tensors, weight)) {
        unpacked_[weight] = {weight, info.dtype, *stored};
      }
    }
    tensors_.emplace(std::move(name), Entry{std::move(info)});
  }
}

const TensorInfo* TensorCheck::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  if (it != tensors_.end()) return &it->second.info;
  const auto unpacked = unpacked_.find(name);
  return unpacked == unpacked_.end() ? nullptr : &unpacked->second;
}

void TensorCheck::ignore(std::string_view suffix) {
  for (auto& [name, entry] : tensors_) entry.used |= name.ends_with(suffix);
}

const TensorInfo* TensorCheck::use(const std::string& name, const Shape& shape) {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    problems_.push_back(fmt::format("{} {} is missing", name, shape.str()));
    missing_.push_back(name);
    return nullptr;
  }
  it->second.used = true;
  const TensorInfo& info = it->second.info;
  if (info.shape == shape) return &info;
  problems_.push_back(
      fmt::format("{} should be {} but is {}", name, shape.str(), info.shape.str()));
  return &info;
}

void TensorCheck::expect_float(const std::string& name, const Shape& shape) {
  const TensorInfo* info = use(name, shape);
  if (info && !is_float(info->dtype)) {
    problems_.push_back(
        fmt::format("{} should be F32, F16 or BF16 but is {}", name, name_of(info->dtype)));
  }
}

void TensorCheck::expect_scale(const std::string& name, std::int64_t rows) {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    problems_.push_back(fmt::format("{} is missing though its tensor is I8", name));
    return;
  }
  it->second.used = true;
  const TensorInfo& info = it->second.info;
  const bool one = info.shape.rank() <= 2 && info.shape.elements() == 1;
  const bool per_row = info.shape == Shape{rows} || info.shape == Shape{rows, 1};
  if (!one && !per_row) {
    problems_.push_back(
        fmt::format("{} should be [1] or [{}, 1] but is {}", name, rows, info.shape.str()));
  }
  if (info.dtype != DType::f32) {
    problems_.push_back(fmt::format("{} should be F32 but is {}", name, name_of(info.dtype)));
  }
}

void TensorCheck::expect_dtype(const TensorInfo* info, DType dtype) {
  if (!info || info->dtype == dtype) return;
  problems_.push_back(
      fmt::format("{} should be {} but is {}", info->name, name_of(dtype), name_of(info->dtype)));
}

void TensorCheck::expect_groups(const LinearSite& site, std::string_view form, std::int64_t unit) {
  const std::string scale = site.name + ".weight_scale", shape = site.name + ".weight_shape";
  if (const auto it = tensors_.find(scale); it == tensors_.end()) {
    problems_.push_back(fmt::format("{} is missing though its tensor is {}", scale, form));
  } else {
    it->second.used = true;
    const TensorInfo& info = it->second.info;
    const bool rows_fit = info.shape.rank() == 2 && info.shape[0] == site.rows;
    const std::int64_t groups = rows_fit ? info.shape[1] : 0;
    if (groups < 1 || site.cols % groups != 0 || site.cols / groups % unit != 0) {
      problems_.push_back(
          fmt::format("{} should be [{}, groups], groups of a multiple of {} of its {} columns, "
                      "but is {}",
                      scale, site.rows, unit, site.cols, info.shape.str()));
    }
  }
  const TensorInfo* info = use(shape, {2});
  if (info && info->dtype != DType::i64 && info->dtype != DType::i32) {
    problems_.push_back(
        fmt::format("{} should be I64 or I32 but is {}", shape, name_of(info->dtype)));
  }
}

void TensorCheck::expect_packed(const LinearSite& site) {
  const std::string packed = site.name + ".weight_packed", scale = site.name + ".weight_scale";
  if (site.cols % 8 != 0) {
    tensors_.find(packed)->second.used = true;
    problems_.push_back(
        fmt::format("{} cannot be, 4-bit weights need a multiple of 8 columns but {} has {}",
                    packed, site.name, site.cols));
  } else {
    expect_dtype(use(packed, {site.rows, site.cols / 8}), DType::i32);
  }
  if (site.role == "embeddings") {
    problems_.push_back(packed + " cannot be, the table has no 4-bit form");
  }
  expect_groups(site, "packed", 8);
  if (const auto it = tensors_.find(scale);
      it != tensors_.end() && !is_float(it->second.info.dtype)) {
    problems_.push_back(fmt::format("{} should be F32, F16 or BF16 but is {}", scale,
                                    name_of(it->second.info.dtype)));
  }
}

void TensorCheck::expect_codes(const LinearSite& site) {
  const std::string name = site.name + ".weight";
  const auto codes = tensors_.find(name + "_codes");
  codes->second.used = true;
  const TensorInfo& info = codes->second.info;
  expect_dtype(&info, DType::u8);
  const std::int64_t pairs = (site.rows + 1) / 2;
  const bool fits = std::ranges::any_of(std::array<std::int64_t, 3>{2, 3, 4}, [&](auto bits) {
    return info.shape == Shape{pairs, site.cols * bits / 4};
  });
  if (site.cols % 16 != 0) {
    problems_.push_back(
        fmt::format("{} cannot be, codes need a multiple of 16 columns but {} has {}", info.name,
                    site.name, site.cols));
  } else if (!fits) {
    problems_.push_back(fmt::format(
        "{} should be [{}, {}], [{}, {}] or [{}, {}] (2, 3 or 4 bits a weight) but is {}",
        info.name, pairs, site.cols / 2, pairs, site.cols * 3 / 4, pairs, site.cols,
        info.shape.str()));
  }
  expect_dtype(use(name + "_table", {64}), DType::i8);
  expect_groups(site, "codes", 16);
  if (const auto it = tensors_.find(name + "_scale"); it != tensors_.end()) {
    expect_dtype(&it->second.info, DType::bf16);
  }
}

void TensorCheck::expect_trits(const LinearSite& site) {
  const std::string name = site.name + ".weight";
  expect_dtype(use(name + "_trits", {trit_bytes(site.rows * site.cols)}), DType::u8);
  expect_groups(site, "trits", site.cols % 16 == 0 ? 16 : site.cols);
  if (const auto it = tensors_.find(name + "_scale"); it != tensors_.end()) {
    expect_dtype(&it->second.info, DType::bf16);
  }
}

void TensorCheck::expect(const LinearSite& site) {
  if (!site.tied_to.empty()) return;
  const std::string name = site.name + ".weight";
  const bool codes = tensors_.contains(name + "_codes"), trits = tensors_.contains(name + "_trits");
  if (!tensors_.contains(name) && (codes || trits || tensors_.contains(name + "_packed"))) {
    if (codes) {
      expect_codes(site);
    } else {
      trits ? expect_trits(site) : expect_packed(site);
    }
    if (site.has_bias) expect_float(site.name + ".bias", {site.rows});
    return;
  }
  const TensorInfo* info = use(name, {site.rows, site.cols});
  if (info && info->dtype == DType::i8) {
    expect_scale(name + "_scale", site.rows);
  } else if (info && !is_float(info->dtype)) {
    problems_.push_back(
        fmt::format("{} should be F32, F16, BF16 or I8 but is {}", name, name_of(info->dtype)));
  }
  if (site.has_bias) expect_float(site.name + ".bias", {site.rows});
}

void TensorCheck::expect(const ParamSite& site) {
  const TensorInfo* info = find(site.name);
  if (const auto packed = tensors_.find(site.name + "_packed"); packed != tensors_.end()) {
    for (const char* part : {"_packed", "_scale", "_zero_point"}) {
      if (const auto it = tensors_.find(site.name + part); it != tensors_.end()) {
        it->second.used = true;
      }
    }
    problems_.push_back(
        fmt::format("{} is A_log in 4 bits, which earlier versions of krait-ternary wrote: "
                    "quantize the model again",
                    packed->first));
  } else if (site.quantizable && info && info->dtype == DType::i8) {
    use(site.name, site.shape);
    expect_scale(site.name + "_scale", site.shape[0]);
  } else {
    expect_float(site.name, site.shape);
  }
}

void TensorCheck::expect_scale(const ActivationSite& site, bool per_channel) {
  const std::string name = site.name + "_scale";
  const TensorInfo* info = use(name, {per_channel ? site.channels : 1});
  expect_dtype(info, DType::f32);
}

void TensorCheck::expect_group_scale(const ActivationSite& site) {
  const TensorInfo* given = find(site.name + "_scale");
  const bool is_matrix = given && given->shape.rank() == 2 && given->shape[0] > 0;
  const TensorInfo* scale =
      use(site.name + "_scale", {is_matrix ? given->shape[0] : 1, site.states});
  const TensorInfo* group = use(site.name + "_group", {site.channels});
  expect_dtype(scale, DType::f32);
  expect_dtype(group, DType::i32);
}

std::string TensorCheck::likely_cause(const std::vector<std::string>& unused) const {
  if (missing_.empty()) return "";
  if (!unused.empty()) {
    std::vector<std::string> missing = missing_;
    std::ranges::sort(missing);
    if (const std::string more = common_prefix(missing, unused); !more.empty()) {
      return fmt::format("the names in the file begin with \"{}\", which should not be there",
                         printable(more, 40));
    }
    if (const std::string less = common_prefix(unused, missing); !less.empty()) {
      return fmt::format("the names in the file lack \"{}\" at their beginning",
                         printable(less, 40));
    }
  }
  if (unused.size() == tensors_.size()) {
    return "the weights are of another architecture than config.json says";
  }
  if (unused.empty() && missing_.size() == problems_.size()) {
    return "the file is incomplete, or config.json tells more than it holds";
  }
  return "";
}

void TensorCheck::finish(std::string_view architecture) const {
  std::vector<std::string> unused, problems;
  for (const auto& [name, entry] : tensors_) {
    if (!entry.used) unused.push_back(name);
  }
  // In turns, so that a short list has both.
  auto next = problems_.begin();
  for (const std::string& name : unused) {
    if (next != problems_.end()) problems.push_back(*next++);
    const Shape& shape = tensors_.find(name)->second.info.shape;
    problems.push_back(fmt::format("{} {} is not used", printable(name), shape.str()));
  }
  problems.insert(problems.end(), next, problems_.end());
  if (problems.empty()) return;
  const std::size_t room = std::max(kShortest, kMessage - std::min(kMessage, where_.size()));
  std::string text = problems.front();
  std::size_t listed = 1;
  while (listed < problems.size() && text.size() + problems[listed].size() + 2 <= room) {
    text += "; " + problems[listed++];
  }
  if (listed < problems.size()) text += fmt::format("; and {} more", problems.size() - listed);
  const std::string cause = likely_cause(unused);
  fail(ErrorCode::bad_data, "{} does not fit {}: {}{}{}", where_, architecture, text,
       cause.empty() ? "" : "; probably ", cause);
}

}  // namespace krait
