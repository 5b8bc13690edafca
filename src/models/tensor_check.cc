#include "models/tensor_check.h"

#include "core/check.h"
#include "core/printable.h"

namespace krait {
namespace {

// More than this many differences mean the wrong file, and a longer list helps nobody.
constexpr std::size_t kMaxProblems = 64;

}  // namespace

TensorCheck::TensorCheck(const TensorSource& tensors) : where_(tensors.where()) {
  for (TensorInfo& info : tensors.list()) {
    std::string name = info.name;
    tensors_.emplace(std::move(name), Entry{std::move(info)});
  }
}

const TensorInfo* TensorCheck::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second.info;
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

void TensorCheck::expect(const LinearSite& site) {
  if (!site.tied_to.empty()) return;
  const std::string name = site.name + ".weight";
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
