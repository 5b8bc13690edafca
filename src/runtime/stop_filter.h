// Holds text back until it cannot be the beginning of a stop text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace krait {

class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// Takes new text and returns what may be shown. Once a stop text is complete, that is what came
  /// before it; stopped() is then true and nothing more comes.
  std::string push(std::string_view text);
  /// What was held back, at the end of the text.
  std::string flush();
  bool stopped() const noexcept { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace krait
