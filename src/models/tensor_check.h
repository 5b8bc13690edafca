// Compares what a checkpoint must hold with what it does hold, and reports the differences in one
// error.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_source.h"
#include "models/layout.h"

namespace krait {

class TensorCheck {
 public:
  explicit TensorCheck(const TensorSource& tensors);

  /// The tensor of that name, or nullptr. NAME.weight is there also if it is stored in 4 bits or as
  /// codes, then with the dtype of what is there and the shape that it stands for.
  const TensorInfo* find(std::string_view name) const;
  std::size_t size() const noexcept { return tensors_.size(); }
  const std::string& where() const noexcept { return where_; }

  /// Tensors whose names end so are no weights: buffers that training left behind.
  void ignore(std::string_view suffix);

  /// A matrix in F32, F16 or BF16, or I8 with a weight_scale [1], [rows] or [rows, 1], or in 4 bits
  /// as weight_packed I32 [rows, cols / 8] with a weight_scale [rows, groups] and weight_shape [2]
  /// (not for the embedding table), or as codes of b bits, weight_codes U8 [ceil(rows / 2), cols b
  /// / 4] with a weight_table I8 [64], weight_scale BF16 [rows, groups] and weight_shape [2],
  /// or as ternary digits, weight_trits U8 [ceil(rows cols / 5)] with such a weight_scale (one
  /// group where the columns are no multiple of 16) and weight_shape; and its bias.
  void expect(const LinearSite& site);
  /// A float parameter, or I8 with a scale of one value or one per row, where it is quantizable.
  void expect(const ParamSite& site);
  /// The static scale of a site: F32 of one value, or of one per channel if `per_channel`.
  void expect_scale(const ActivationSite& site, bool per_channel);
  /// The static scales of a state by groups of channels: name + "_scale" F32 [groups, states] and
  /// name + "_group" I32 [channels], each channel's group.
  void expect_group_scale(const ActivationSite& site);

  /// Throws bad_data for tensors that are missing, misshaped, of a dtype that cannot be used, or
  /// that nothing uses: names the first, says how many more there are, and what probably happened.
  void finish(std::string_view architecture) const;

 private:
  struct Entry {
    TensorInfo info;
    bool used = false;
  };
  const TensorInfo* use(const std::string& name, const Shape& shape);
  void expect_packed(const LinearSite& site);
  void expect_codes(const LinearSite& site);
  void expect_trits(const LinearSite& site);
  /// weight_scale [rows, groups], of groups of a multiple of `unit` columns, and weight_shape of
  /// what is stored as `form`.
  void expect_groups(const LinearSite& site, std::string_view form, std::int64_t unit);
  /// What probably happened, or nothing. `unused`: sorted names.
  std::string likely_cause(const std::vector<std::string>& unused) const;
  void expect_dtype(const TensorInfo* info, DType dtype);
  void expect_float(const std::string& name, const Shape& shape);
  void expect_scale(const std::string& name, std::int64_t rows);

  std::string where_;
  std::map<std::string, Entry, std::less<>> tensors_;
  std::map<std::string, TensorInfo, std::less<>> unpacked_;  ///< NAME.weight stored otherwise
  std::vector<std::string> problems_;
  std::vector<std::string> missing_;  ///< names of which problems_ says so
};

}  // namespace krait
