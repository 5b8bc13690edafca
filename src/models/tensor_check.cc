#include "models/tensor_check.h"

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

// More than this many differences mean the wrong file, and a longer list helps nobody.
constexpr std::size_t kMaxProblems = 64;

constexpr std::string_view kWeightPacked = ".weight_packed";
constexpr std::int64_t kMaxWords = std::int64_t{1} << 40;  // eight times that is still a dimension

}  // namespace

TensorCheck::TensorCheck(const TensorSource& tensors) : where_(tensors.where()) {
  for (TensorInfo& info : tensors.list()) {
    std::string name = info.name;
    const Shape& shape = info.shape;
    constexpr std::string_view kPacked = "_packed";
    if (name.ends_with(kWeightPacked) && shape.rank() == 2 && shape[1] <= kMaxWords) {
      const std::string weight = name.substr(0, name.size() - kPacked.size());
      unpacked_[weight] = {weight, info.dtype, {shape[0], shape[1] * 8}};
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

void TensorCheck::expect_packed(const LinearSite& site) {
  const std::string name = site.name + ".weight";
  const std::string packed = name + "_packed", scale = name + "_scale", shape = name + "_shape";
  const auto complain = [&](const std::string& problem) { problems_.push_back(problem); };
  if (site.cols % 8 != 0) {
    tensors_.find(packed)->second.used = true;
    complain(fmt::format("{} cannot be, 4-bit weights need a multiple of 8 columns but {} has {}",
                         packed, site.name, site.cols));
  } else if (const TensorInfo* info = use(packed, {site.rows, site.cols / 8});
             info->dtype != DType::i32) {
    complain(fmt::format("{} should be I32 but is {}", packed, name_of(info->dtype)));
  }
  if (site.role == "embeddings") complain(packed + " cannot be, the table has no 4-bit form");

  if (const auto it = tensors_.find(scale); it == tensors_.end()) {
    complain(scale + " is missing though its tensor is packed");
  } else {
    it->second.used = true;
    const TensorInfo& info = it->second.info;
    const bool rows_fit = info.shape.rank() == 2 && info.shape[0] == site.rows;
    const std::int64_t groups = rows_fit ? info.shape[1] : 0;
    if (groups < 1 || site.cols % groups != 0 || site.cols / groups % 8 != 0) {
      complain(
          fmt::format("{} should be [{}, groups], groups of a multiple of 8 of its {} columns, "
                      "but is {}",
                      scale, site.rows, site.cols, info.shape.str()));
    }
    if (!is_float(info.dtype)) {
      complain(fmt::format("{} should be F32, F16 or BF16 but is {}", scale, name_of(info.dtype)));
    }
  }
  const TensorInfo* info = use(shape, {2});
  if (info && info->dtype != DType::i64 && info->dtype != DType::i32) {
    complain(fmt::format("{} should be I64 or I32 but is {}", shape, name_of(info->dtype)));
  }
}

void TensorCheck::expect(const LinearSite& site) {
  if (!site.tied_to.empty()) return;
  const std::string name = site.name + ".weight";
  if (!tensors_.contains(name) && tensors_.contains(name + "_packed")) {
    expect_packed(site);
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
  if (site.quantizable && info && info->dtype == DType::i8) {
    use(site.name, site.shape);
    expect_scale(site.name + "_scale", site.shape[0]);
  } else {
    expect_float(site.name, site.shape);
  }
}

void TensorCheck::expect_scale(const ActivationSite& site, bool per_channel) {
  const std::string name = site.name + "_scale";
  const TensorInfo* info = use(name, {per_channel ? site.channels : 1});
  if (info && info->dtype != DType::f32) {
    problems_.push_back(fmt::format("{} should be F32 but is {}", name, name_of(info->dtype)));
  }
}

void TensorCheck::expect_group_scale(const ActivationSite& site) {
  const TensorInfo* given = find(site.name + "_scale");
  const bool is_matrix = given && given->shape.rank() == 2 && given->shape[0] > 0;
  const TensorInfo* scale =
      use(site.name + "_scale", {is_matrix ? given->shape[0] : 1, site.states});
  const TensorInfo* group = use(site.name + "_group", {site.channels});
  for (const auto& [info, dtype] : {std::pair(scale, DType::f32), {group, DType::i32}}) {
    if (info && info->dtype != dtype) {
      problems_.push_back(fmt::format("{} should be {} but is {}", info->name, name_of(dtype),
                                      name_of(info->dtype)));
    }
  }
}

void TensorCheck::finish(std::string_view architecture) const {
  std::vector<std::string> problems = problems_;
  for (const auto& [name, entry] : tensors_) {
    if (!entry.used) {
      problems.push_back(fmt::format("{} {} is not used", printable(name), entry.info.shape.str()));
    }
  }
  if (problems.empty()) return;
  const std::size_t listed = std::min(problems.size(), kMaxProblems);
  std::string text;
  for (std::size_t i = 0; i < listed; ++i) text += (i ? "; " : "") + problems[i];
  if (listed < problems.size()) text += fmt::format("; and {} more", problems.size() - listed);
  fail(ErrorCode::bad_data, "{} does not fit {}: {}", where_, architecture, text);
}

}  // namespace krait
