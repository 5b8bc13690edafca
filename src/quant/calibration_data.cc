#include "quant/calibration_data.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/check.h"
#include "core/rng.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "io/npy.h"
#include "quant/embedded.h"

namespace krait {
namespace {

using enum ErrorCode;

/// The first `count` places of a random permutation of [0, n) (Fisher and Yates 1938).
class Draw {
 public:
  Draw(std::size_t n, std::uint64_t seed) : rng_(seed), places_(n) {
    std::iota(places_.begin(), places_.end(), std::size_t{0});
  }
  bool empty() const { return drawn_ == places_.size(); }
  std::size_t next() {
    const std::size_t pick = drawn_ + rng_.below(places_.size() - drawn_);
    std::swap(places_[drawn_], places_[pick]);
    return places_[drawn_++];
  }

 private:
  Rng rng_;
  std::vector<std::size_t> places_;
  std::size_t drawn_ = 0;
};

void take_pieces(const std::vector<TokenId>& ids, const CalibrationRequest& request,
                 CalibrationData& data) {
  check(!ids.empty(), bad_data, "calibration data {} holds no token", data.source);
  const auto length = static_cast<std::size_t>(request.seq_len);
  const std::size_t pieces = std::max<std::size_t>(ids.size() / length, 1);
  data.available = static_cast<std::int64_t>(pieces);
  Draw draw(pieces, request.seed);
  while (!draw.empty() && data.samples.size() < static_cast<std::size_t>(request.samples)) {
    const std::size_t begin = draw.next() * length;
    const std::size_t end = std::min(begin + length, ids.size());
    data.samples.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                              ids.begin() + static_cast<std::ptrdiff_t>(end));
  }
}

void take_documents(std::string_view text, const CalibrationRequest& request,
                    const EncodeFn& encode, CalibrationData& data) {
  struct Line {
    std::string_view text;
    std::size_t number;
  };
  std::vector<Line> lines;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back({line, number});
  }
  data.available = static_cast<std::int64_t>(lines.size());
  Draw draw(lines.size(), request.seed);
  while (!draw.empty() && data.samples.size() < static_cast<std::size_t>(request.samples)) {
    const Line line = lines[draw.next()];
    const std::string where = fmt::format("{}, line {}", request.path, line.number);
    const Json document = parse_json(line.text, where);
    check(document.is_object() && document.contains("text") && document.at("text").is_string(),
          bad_data, "{}: an object with a string \"text\" is expected", where);
    std::vector<TokenId> ids = encode(document.at("text").get_ref<const std::string&>(), true);
    if (ids.size() > static_cast<std::size_t>(request.seq_len)) {
      ids.resize(static_cast<std::size_t>(request.seq_len));
    }
    if (!ids.empty()) data.samples.push_back(std::move(ids));
  }
  check(!data.samples.empty(), bad_data, "calibration data {} holds no text", data.source);
}

}  // namespace

std::int64_t CalibrationData::tokens() const {
  std::int64_t sum = 0;
  for (const auto& sample : samples) sum += static_cast<std::int64_t>(sample.size());
  return sum;
}

std::vector<TokenId> parse_token_file(std::string_view bytes, const std::string& path,
                                      std::int64_t vocab_rows) {
  NpyIntegers array{0, vocab_rows <= 65536 ? std::size_t{2} : std::size_t{4}, false};
  if (path.ends_with(".npy")) array = parse_npy_integers(bytes, path);
  const std::string_view data = bytes.substr(array.offset);
  check(data.size() % array.width == 0, bad_data,
        "{}: {} bytes of data are no multiple of the {} bytes of an id", path, data.size(),
        array.width);
  std::vector<TokenId> ids(data.size() / array.width);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::uint64_t value = 0;
    for (std::size_t k = 0; k < array.width; ++k) {
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(data[i * array.width + k]))
               << 8 * k;
    }
    // A negative id of any width has its top bit set and is out of range as well.
    const bool negative = array.is_signed && (value >> (8 * array.width - 1)) != 0;
    check(!negative && value < static_cast<std::uint64_t>(vocab_rows), bad_data,
          "{}: id {} at index {} is outside the vocabulary [0, {})", path,
          negative ? "below 0" : std::to_string(value), i, vocab_rows);
    ids[i] = static_cast<TokenId>(value);
  }
  return ids;
}

CalibrationData load_calibration(const CalibrationRequest& request, const EncodeFn& encode) {
  check(request.samples >= 1, invalid_argument, "calibration: at least 1 sample is needed, got {}",
        request.samples);
  check(request.seq_len >= 1, invalid_argument,
        "calibration: samples of at least 1 token are needed, got {}", request.seq_len);
  const std::string& path = request.path;
  const std::string content = path.empty() ? std::string() : read_file(path);
  const std::string_view bytes = path.empty() ? embedded_calibration_text() : content;
  CalibrationData data;
  data.source = path.empty() ? "built in" : path.substr(path.find_last_of('/') + 1);
  data.hash = "sha256:" + sha256_hex(bytes);
  check(!bytes.empty(), bad_data, "calibration data {} is empty", path);
  if (path.ends_with(".jsonl")) {
    take_documents(bytes, request, encode, data);
  } else if (path.ends_with(".npy") || path.ends_with(".bin")) {
    take_pieces(parse_token_file(bytes, path, request.vocab_rows), request, data);
  } else {
    take_pieces(encode(bytes, false), request, data);
  }
  return data;
}

}  // namespace krait
