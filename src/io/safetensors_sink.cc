#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "core/check.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace krait {
namespace {

constexpr std::uint64_t kAlignment = 64;

/// The largest power of two up to 64 that divides a tensor's size: what it keeps aligned behind it.
std::uint64_t alignment_of(std::uint64_t bytes) {
  return bytes == 0 ? kAlignment : std::min(kAlignment, bytes & (~bytes + 1));
}

class SafetensorsSink final : public TensorSink {
 public:
  SafetensorsSink(const std::string& path, std::map<std::string, std::string> metadata)
      : path_(path), metadata_(std::move(metadata)) {
    check_absent();
    file_.emplace(path);
  }

  void declare(const TensorInfo& info) override {
    check(info.name != "__metadata__", ErrorCode::invalid_argument,
          "{}: a tensor cannot be called __metadata__", path_);
    declared_.declare(info);
  }

  void write(std::string_view name, const TensorView& view) override {
    check(file_.has_value(), ErrorCode::invalid_argument, "{}: tensor {} is written after finish()",
          path_, name);
    declared_.write(name, view);
    if (!laid_out_) lay_out();
    file_->write_at(offsets_.find(name)->second, view.data, view.bytes());
  }

  void finish() override {
    check(file_.has_value(), ErrorCode::invalid_argument, "{}: finish() is called twice", path_);
    declared_.finish();
    if (!laid_out_) lay_out();
    check_absent();
    file_->commit();
    file_.reset();
  }

 private:
  void check_absent() const {
    struct stat status {};
    check(::lstat(path_.c_str(), &status) != 0, ErrorCode::io_error, "{} exists already", path_);
  }

  /// Gives every declared tensor its place, reserves the file and writes the header.
  void lay_out() {
    std::vector<const TensorInfo*> order;
    for (const TensorInfo& info : declared_.infos()) order.push_back(&info);
    const auto bytes = [](const TensorInfo* info) {
      return TensorView{nullptr, info->dtype, info->shape}.bytes();
    };
    std::ranges::stable_sort(order, [&](const TensorInfo* a, const TensorInfo* b) {
      return alignment_of(bytes(a)) > alignment_of(bytes(b));
    });
    Json header = Json::object();
    if (!metadata_.empty()) header["__metadata__"] = metadata_;
    std::uint64_t offset = 0;
    for (const TensorInfo* info : order) {
      const std::uint64_t end = offset + bytes(info);
      Json shape = Json::array();
      for (int i = 0; i < info->shape.rank(); ++i) shape.push_back(info->shape[i]);
      header[info->name] = {{"dtype", name_of(info->dtype)},
                            {"shape", std::move(shape)},
                            {"data_offsets", {offset, end}}};
      offsets_.emplace(info->name, offset);
      offset = end;
    }
    std::string text;
    try {
      text = header.dump();
    } catch (const Json::type_error&) {  // the only thing that dump() refuses
      fail(ErrorCode::invalid_argument, "{}: a tensor name or metadata is not UTF-8", path_);
    }
    std::uint64_t length = text.size();
    length += (kAlignment - (sizeof length + length) % kAlignment) % kAlignment;
    text.resize(length, ' ');
    const std::uint64_t data_begin = sizeof length + length;
    for (auto& [name, place] : offsets_) place += data_begin;
    file_->reserve(data_begin + offset);
    file_->write_at(0, &length, sizeof length);
    file_->write_at(sizeof length, text.data(), text.size());
    laid_out_ = true;
  }

  std::string path_;
  std::map<std::string, std::string> metadata_;
  std::optional<OutputFile> file_;
  DeclaredTensors declared_;
  std::map<std::string, std::uint64_t, std::less<>> offsets_;  ///< from the file's begin
  bool laid_out_ = false;
};

}  // namespace

std::unique_ptr<TensorSink> make_safetensors_sink(const std::string& path,
                                                  std::map<std::string, std::string> metadata) {
  return std::make_unique<SafetensorsSink>(path, std::move(metadata));
}

}  // namespace krait
