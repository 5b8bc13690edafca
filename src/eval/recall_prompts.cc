#include "eval/recall_prompts.h"

#include <algorithm>
#include <set>
#include <string>

#include "core/check.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

using enum ErrorCode;
using Ids = std::vector<std::int32_t>;

constexpr std::size_t kSequence = 8;       // words of an induction sequence, the answer included
constexpr std::size_t kEnoughWords = 256;  // in the vocabulary, to do without other tokens

/// Distinct ids drawn one after the other.
class Words {
 public:
  Words(std::span<const std::int32_t> words, Rng& rng) : words_(words.begin(), words.end()) {
    for (std::size_t i = words_.size(); i > 1; --i) std::swap(words_[i - 1], words_[rng.below(i)]);
  }
  std::int32_t next() {
    check(used_ < words_.size(), invalid_argument,
          "recall needs more than the {} words of this vocabulary: take fewer needles",
          words_.size());
    return words_[used_++];
  }

 private:
  Ids words_;
  std::size_t used_ = 0;
};

RecallPrompts passkeys(const Engine& engine, int needles, Rng& rng) {
  RecallPrompts prompts;
  std::set<std::string> numbers;
  while (numbers.size() < static_cast<std::size_t>(needles)) {
    const std::string number = fmt::format("{}", 10000 + rng.below(90000));
    if (!numbers.insert(number).second) continue;
    const std::string question = "\nWhat is the pass key? The pass key is";
    const Ids asked = engine.encode(question, false);
    // The tokens that follow the question's: as eval's continuations are cut.
    const Ids whole = engine.encode(fmt::format("{} {}", question, number), false);
    const std::size_t begin = std::min(asked.size(), whole.size() - 1);
    const std::string fact =
        fmt::format("\nThe pass key is {}. Remember it. {} is the pass key.\n", number, number);
    prompts.needles.push_back({engine.encode(fact, false), {{asked, prompts.answers.size()}}});
    prompts.answers.emplace_back(whole.begin() + static_cast<std::ptrdiff_t>(begin), whole.end());
  }
  return prompts;
}

RecallPrompts pairs(int needles, Words& words) {
  RecallPrompts prompts;
  RecallNeedle needle;
  for (int i = 0; i < needles; ++i) {
    const std::int32_t key = words.next(), value = words.next();
    needle.ids.insert(needle.ids.end(), {key, value});
    needle.questions.push_back({{key}, prompts.answers.size()});
    prompts.answers.push_back({value});
  }
  prompts.needles.push_back(std::move(needle));
  return prompts;
}

RecallPrompts sequences(int needles, Words& words) {
  RecallPrompts prompts;
  for (int i = 0; i < needles; ++i) {
    Ids sequence;
    for (std::size_t k = 0; k < kSequence; ++k) sequence.push_back(words.next());
    const Ids question(sequence.begin(), sequence.end() - 1);
    prompts.answers.push_back({sequence.back()});
    prompts.needles.push_back({std::move(sequence), {{question, prompts.answers.size() - 1}}});
  }
  return prompts;
}

bool is_word(std::string_view text) {
  return text.size() >= 4 && text.front() == ' ' &&
         std::all_of(text.begin() + 1, text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

}  // namespace

std::size_t RecallPrompts::longest() const {
  std::size_t most = 0;
  for (const RecallNeedle& needle : needles) {
    for (const RecallQuestion& question : needle.questions) {
      most = std::max(most, needle.ids.size() + question.ids.size());
    }
  }
  return most;
}

RecallPrompts make_recall_prompts(std::string_view task, const Engine& engine, int needles,
                                  std::span<const std::int32_t> words, Rng& rng) {
  if (task == "passkey") return passkeys(engine, needles, rng);
  Words drawn(words, rng);
  return task == "induction" ? sequences(needles, drawn) : pairs(needles, drawn);
}

std::vector<std::int32_t> recall_words(const Engine& engine) {
  const std::span<const std::int32_t> ends = engine.eos_ids();
  Ids words, others;
  for (std::int32_t id = 0; id < engine.vocab_size(); ++id) {
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) continue;
    others.push_back(id);
    if (EngineAccess::model(engine)->tokenizer && is_word(engine.decode({&id, 1})))
      words.push_back(id);
  }
  return words.size() >= kEnoughWords ? words : others;
}

}  // namespace krait
