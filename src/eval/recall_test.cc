#include "eval/recall.h"

#include <gtest/gtest.h>

#include <set>

#include "eval/continuations.h"
#include "eval/recall_prompts.h"
#include "io/test_support.h"
#include "runtime/softmax.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

using Ids = std::vector<std::int32_t>;

RecallOptions small_options(std::vector<std::string> tasks = {}) {
  return {.tasks = std::move(tasks),
          .lengths = {120, 200},
          .distances = {0, 7, 1000},
          .needles = 3,
          .fillers = 2,
          .seed = 5};
}

/// ln p of ids[from...] in the sequence, from scratch.
double naive(const Engine& engine, const Ids& ids, std::size_t from) {
  SequenceState state = executor_of(engine).new_state();
  const std::vector<float> logits = all_logits(engine, ids, state);
  const auto rows = static_cast<std::size_t>(engine.vocab_rows());
  double sum = 0;
  for (std::size_t t = from; t < ids.size(); ++t) {
    const std::span row(logits.data() + (t - 1) * rows,
                        static_cast<std::size_t>(engine.vocab_size()));
    sum += row[static_cast<std::size_t>(ids[t])] - log_sum_exp(row);
  }
  return sum;
}

Ids joined(std::initializer_list<std::span<const std::int32_t>> parts) {
  Ids ids;
  for (const auto& part : parts) ids.insert(ids.end(), part.begin(), part.end());
  return ids;
}

TEST(Recall, ScoresThePromptsThatItDescribes) {
  const Engine engine = byte_engine({.threads = 2});
  const Ids filler = random_ids(3, 450, 256);
  const RecallOptions options = small_options();
  const std::vector<RecallCell> cells = recall(engine, filler, options);
  ASSERT_EQ(cells.size(), 12u);  // three tasks, two lengths, two distances
  for (int f = 0; f < options.fillers; ++f) {
    // The second filler's 200 tokens begin where the first one's end, and the third would begin
    // anew.
    const std::span text = std::span(filler).subspan(static_cast<std::size_t>(f) * 200, 200);
    Rng rng(options.seed + static_cast<std::uint64_t>(f));
    for (const std::string& task : recall_tasks()) {
      const RecallPrompts prompts =
          make_recall_prompts(task, engine, options.needles, recall_words(engine), rng);
      const std::size_t longest = prompts.longest();
      for (const RecallCell& cell : cells) {
        if (cell.task != task) continue;
        ASSERT_EQ(cell.items.size(), 6u);
        EXPECT_DOUBLE_EQ(cell.chance, 1.0 / 3);
        const std::size_t room = static_cast<std::size_t>(cell.length) - longest;
        const auto distance = static_cast<std::size_t>(cell.distance);
        EXPECT_TRUE(distance == 7 || distance == room) << cell.distance;
        EXPECT_DOUBLE_EQ(cell.depth * static_cast<double>(cell.length),
                         static_cast<double>(room - distance));
        std::size_t i = static_cast<std::size_t>(f) * 3;
        for (const RecallNeedle& needle : prompts.needles) {
          for (const RecallQuestion& question : needle.questions) {
            std::vector<double> gains;
            for (const Ids& answer : prompts.answers) {
              const Ids with =
                  joined({text.first(room - distance), needle.ids,
                          text.subspan(room - distance, distance), question.ids, answer});
              const Ids without = joined({text.first(room), question.ids, answer});
              gains.push_back(naive(engine, with, with.size() - answer.size()) -
                              naive(engine, without, without.size() - answer.size()));
            }
            const RecallItem& item = cell.items[i++];
            const double gain = gains[question.answer];
            EXPECT_NEAR(item.log_likelihood - item.without, gain, 1e-4) << task;
            EXPECT_EQ(item.chosen, gain == *std::max_element(gains.begin(), gains.end()));
            EXPECT_EQ(item.tokens,
                      static_cast<std::int64_t>(prompts.answers[question.answer].size()));
          }
        }
      }
    }
  }
}

TEST(Recall, TheSameOptionsAskTheSame) {
  const Ids filler = random_ids(3, 100, 256);
  const auto run = [&](int threads, std::uint64_t seed) {
    RecallOptions options = small_options();
    options.seed = seed;
    return recall(byte_engine({.threads = threads}), filler, options);
  };
  const std::vector<RecallCell> one = run(1, 5), two = run(3, 5), other = run(1, 6);
  ASSERT_EQ(one.size(), two.size());
  bool differs = false;
  for (std::size_t c = 0; c < one.size(); ++c) {
    for (std::size_t i = 0; i < one[c].items.size(); ++i) {
      EXPECT_EQ(one[c].items[i].log_likelihood, two[c].items[i].log_likelihood);
      EXPECT_EQ(one[c].items[i].without, two[c].items[i].without);
      differs |= one[c].items[i].log_likelihood != other[c].items[i].log_likelihood;
    }
    const RecallSummary difference = paired_difference(one[c], two[c]);
    EXPECT_EQ(difference.gain.value, 0);
    EXPECT_EQ(difference.chosen.error, 0);
  }
  EXPECT_TRUE(differs);
}

TEST(Recall, SummariesAreMeans) {
  RecallCell cell{.task = "passkey", .length = 10, .distance = 2};
  cell.items = {{.log_likelihood = -1, .without = -3, .exact = true, .first = true, .chosen = true},
                {.log_likelihood = -5, .without = -5, .first = true}};
  const RecallSummary summary = summarize(cell);
  EXPECT_EQ(summary.exact.value, 0.5);
  EXPECT_EQ(summary.first.value, 1);
  EXPECT_EQ(summary.chosen.value, 0.5);
  EXPECT_EQ(summary.nll.value, 3);
  EXPECT_EQ(summary.gain.value, 1);
  EXPECT_EQ(summary.gain.error, 1);  // sqrt(2 / 2)
  RecallCell two =
      cell;  // one item in each of two fillers: the same; two in each: over their means
  two.items[1].filler = 1;
  EXPECT_EQ(summarize(two).groups, 2u);
  EXPECT_EQ(summarize(two).gain.error, 1);
  two.items = {cell.items[0], cell.items[1], cell.items[0], cell.items[1]};
  two.items[2].filler = two.items[3].filler = 1;
  EXPECT_EQ(summarize(two).gain.value, 1);
  EXPECT_EQ(summarize(two).gain.error, 0);
  RecallCell better = cell;
  better.items[1].log_likelihood = -4;
  const RecallSummary difference = paired_difference(better, cell);
  EXPECT_EQ(difference.nll.value, -0.5);
  EXPECT_EQ(difference.gain.value, 0.5);
  EXPECT_EQ(difference.gain.error, 0.5);
  better.length = 11;
  EXPECT_THROW(paired_difference(better, cell), Error);
}

TEST(Recall, PromptsAreWhatTheTasksSay) {
  const Engine engine = byte_engine();
  const Ids words = recall_words(engine);
  EXPECT_EQ(words.size(), 256u);  // bytes: no words, so all but the end of text
  Rng rng(1);
  const RecallPrompts keys = make_recall_prompts("passkey", engine, 4, words, rng);
  ASSERT_EQ(keys.needles.size(), 4u);
  std::set<std::string> numbers;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::string number = engine.decode(keys.answers[i]);
    EXPECT_EQ(number.size(), 6u) << number;  // a space and five digits
    EXPECT_NE(engine.decode(keys.needles[i].ids).find("The pass key is" + number + ". Remember"),
              std::string::npos);
    EXPECT_EQ(keys.needles[i].questions[0].answer, i);
    numbers.insert(number);
  }
  EXPECT_EQ(numbers.size(), 4u);

  const RecallPrompts pairs = make_recall_prompts("associative_recall", engine, 4, words, rng);
  ASSERT_EQ(pairs.needles.size(), 1u);
  ASSERT_EQ(pairs.needles[0].ids.size(), 8u);
  EXPECT_EQ(std::set(pairs.needles[0].ids.begin(), pairs.needles[0].ids.end()).size(), 8u);
  EXPECT_EQ(pairs.longest(), 9u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(pairs.needles[0].questions[i].ids, Ids{pairs.needles[0].ids[2 * i]});
    EXPECT_EQ(pairs.answers[i], Ids{pairs.needles[0].ids[2 * i + 1]});
  }

  const RecallPrompts sequences = make_recall_prompts("induction", engine, 2, words, rng);
  for (std::size_t i = 0; i < 2; ++i) {
    const RecallNeedle& needle = sequences.needles[i];
    EXPECT_EQ(joined({needle.questions[0].ids, sequences.answers[i]}), needle.ids);
  }
}

TEST(Recall, RefusesWhatCannotBeAsked) {
  const Engine engine = byte_engine();
  const Ids filler = random_ids(3, 100, 256);
  const auto refuse = [&](const std::function<void(RecallOptions&)>& change,
                          std::initializer_list<std::string> parts) {
    RecallOptions options = small_options();
    change(options);
    expect_error([&] { recall(engine, filler, options); }, ErrorCode::invalid_argument, parts);
  };
  refuse([](auto& o) { o.tasks = {"passkeys"}; }, {"did you mean \"passkey\""});
  refuse([](auto& o) { o.lengths = {20}; }, {"20 tokens", "no room", "at least"});
  refuse([](auto& o) { o.needles = 1; }, {"at least 2 needles"});
  refuse([](auto& o) { o.distances = {-1}; }, {"negative", "-1"});
  refuse([](auto& o) { o.distances.clear(); }, {"lengths and distances"});
  refuse(
      [](auto& o) {
        o.needles = 100;
        o.tasks = {"induction"};
      },
      {"256 words", "fewer needles"});
  expect_error([&] { recall(engine, {}, {}); }, ErrorCode::invalid_argument, {"filler"});
}

TEST(Continuations, AreScoredAlikeAloneAndTogether) {
  const Engine engine = byte_engine({.threads = 2});
  const Ids context = random_ids(4, 30, 256);
  const std::vector<Ids> continuations = {{1}, {2, 3, 4}, {5, 6}, {1, 2, 3, 4, 5}};
  SequenceState state = executor_of(engine).new_state();
  std::vector<float> logits(static_cast<std::size_t>(engine.vocab_rows()));
  executor_of(engine).read(context, state, LogitRows::last, logits.data());
  const std::vector<Likelihood> found = score_continuations(engine, state, logits, continuations);
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    EXPECT_NEAR(found[i].log_likelihood,
                naive(engine, joined({context, continuations[i]}), context.size()), 1e-9);
    EXPECT_EQ(found[i].tokens, static_cast<std::int64_t>(continuations[i].size()));
    EXPECT_EQ(found[i].first_is_greedy,
              argmax(std::span(logits).first(static_cast<std::size_t>(engine.vocab_size()))) ==
                  continuations[i].front());
  }
}

}  // namespace
}  // namespace krait
