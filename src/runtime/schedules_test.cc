// Whatever passes sequences share, whatever is forked, saved, taken back and restored between them:
// each gets the bytes that it has alone in one call.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "models/test_checkpoints.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

constexpr std::size_t kSequences = 16, kVocabulary = static_cast<std::size_t>(kVocab);
constexpr std::int64_t kHistory = 3;  // tokens that some of them can go back by

std::vector<std::string> scales_of_single_tokens() {
  std::vector<std::string> names = case_names();
  std::erase_if(names, [](const std::string& name) {
    return name.find("dynamic_tensor") != std::string::npos;  // a scale for all tokens of a pass
  });
  return names;
}

/// A text and what it leaves when it is read alone.
struct Text {
  std::vector<std::int32_t> ids;
  std::vector<float> logits;  // of every token
  std::string state;

  std::span<const float> row(std::int64_t position) const {
    return std::span(logits).subspan(static_cast<std::size_t>(position) * kVocabulary, kVocabulary);
  }
};

/// One of the sequences of a schedule, somewhere in its text.
struct Reader {
  const Text* text;
  Sequence sequence;
  bool goes_back = false;

  std::int64_t position() const { return sequence.state.position(); }
  std::span<const std::int32_t> unread() const {
    return std::span(text->ids).subspan(static_cast<std::size_t>(position()));
  }
};

class Schedules : public testing::TestWithParam<std::string> {
 protected:
  Schedules() {
    const TestCheckpoint& checkpoint = checkpoint_of(GetParam());
    engine_ = make_engine({.config = checkpoint.config,
                           .generation_config = {},
                           .tensors = checkpoint.source(),
                           .tokenizer = std::nullopt},
                          {.threads = 2});
    for (std::size_t i = 0; i < kSequences; ++i) {
      Text& text = texts_.emplace_back();
      text.ids = random_ids(i, 20 + static_cast<std::int64_t>(3 * i), kVocab);
      SequenceState state = executor().new_state();
      text.logits = all_logits(*engine_, text.ids, state);
      text.state = state.serialize();
    }
  }

  Executor& executor() { return executor_of(*engine_); }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(n)));
  }

  /// Some of the readers take a token or more each, in one pass and any order.
  void read(std::vector<Reader>& readers) {
    std::vector<Reader*> order;
    for (Reader& reader : readers) {
      if (below(3) > 0) order.push_back(&reader);
    }
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[static_cast<std::size_t>(below(static_cast<std::int64_t>(i)))]);
    }
    std::vector<Step> steps;
    std::vector<std::vector<float>> logits(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto unread = order[i]->unread();
      const std::int64_t most = below(2) == 0 ? 1 : below(20);  // none is allowed too
      const auto ids = unread.first(std::min(unread.size(), static_cast<std::size_t>(most)));
      const auto rows = static_cast<LogitRows>(below(3));
      logits[i].resize(static_cast<std::size_t>(logit_rows(rows, std::ssize(ids))) * kVocabulary);
      steps.push_back({order[i]->sequence.state, ids, rows, logits[i].data()});
    }
    executor().run(steps);
    for (std::size_t i = 0; i < order.size(); ++i) {
      Sequence& sequence = order[i]->sequence;
      sequence.have_read(steps[i].ids);
      sequence.logits.clear();
      if (!logits[i].empty()) {
        sequence.logits.assign(logits[i].end() - static_cast<std::ptrdiff_t>(kVocabulary),
                               logits[i].end());
      }
      const auto rows = static_cast<std::int64_t>(logits[i].size() / kVocabulary);
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto expected = order[i]->text->row(order[i]->position() - rows + r);
        ASSERT_EQ(std::memcmp(logits[i].data() + static_cast<std::size_t>(r) * kVocabulary,
                              expected.data(), expected.size_bytes()),
                  0)
            << "token " << order[i]->position() - rows + r << " of a text of "
            << order[i]->text->ids.size();
      }
    }
  }

  /// To a file and from it, as another process would.
  void save_and_restore(Reader& reader) {
    const std::string saved = reader.sequence.save();
    reader.sequence = restore_sequence(saved, model_of(*engine_).state_layout(), kVocab, nullptr);
    ASSERT_EQ(reader.sequence.save(), saved);
    reader.goes_back = false;
  }

  void go_back(Reader& reader) {
    SequenceState& state = reader.sequence.state;
    const std::int64_t count = below(state.kept() + 1);
    state.rollback(count);
    reader.sequence.history.resize(static_cast<std::size_t>(state.position()));
    reader.sequence.logits.clear();
  }

  std::optional<Engine> engine_;
  std::vector<Text> texts_;
  Rng rng_{11};
};

TEST_P(Schedules, GiveEachSequenceTheBytesThatItHasAlone) {
  std::vector<Reader> readers;
  for (const Text& text : texts_) readers.push_back({&text, {executor().new_state()}});
  const auto is_reading = [](const Reader& reader) { return !reader.unread().empty(); };
  int rounds = 0;
  while (std::ranges::any_of(readers, is_reading) && rounds < 400) {
    ++rounds;
    read(readers);
    if (HasFatalFailure()) return;
    Reader& reader = readers[static_cast<std::size_t>(below(std::ssize(readers)))];
    switch (below(5)) {
      case 0:
        save_and_restore(reader);
        break;
      case 1:  // a fork reads on beside it
        if (readers.size() < 2 * kSequences) readers.push_back(Reader(reader));
        break;
      case 2:
        reader.sequence.state.keep_history(kHistory);
        reader.goes_back = true;
        break;
      default:
        if (reader.goes_back) go_back(reader);
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_LT(rounds, 400);
  EXPECT_GT(readers.size(), kSequences);
  for (const Reader& reader : readers) {
    EXPECT_EQ(reader.sequence.state.serialize(), reader.text->state);
    EXPECT_TRUE(std::ranges::equal(reader.sequence.history, reader.text->ids));
  }
}

INSTANTIATE_TEST_SUITE_P(Numerics, Schedules, testing::ValuesIn(scales_of_single_tokens()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace krait
