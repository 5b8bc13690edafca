#include "runtime/stop_filter.h"

#include <algorithm>
#include <utility>

namespace krait {

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  std::size_t first = std::string::npos;
  std::size_t keep = 0;  // the longest end of the text with which a stop text begins
  for (const std::string& stop : stops_) {
    first = std::min(first, held_.find(stop));
    for (std::size_t n = std::min(held_.size(), stop.size() - 1); n > keep; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    }
  }
  stopped_ = first != std::string::npos;
  const std::size_t shown = stopped_ ? first : held_.size() - keep;
  std::string result = held_.substr(0, shown);
  held_.erase(0, shown);
  if (stopped_) held_.clear();
  return result;
}

std::string StopFilter::flush() { return std::exchange(held_, ""); }

}  // namespace krait
