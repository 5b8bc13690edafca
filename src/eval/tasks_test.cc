#include "eval/tasks.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/likelihood.h"
#include "io/file.h"
#include "io/test_support.h"
#include "runtime/softmax.h"
#include "runtime/test_support.h"

namespace krait {
namespace {

/// A directory with one task file.
struct TaskFile {
  TaskFile(const std::string& name, const std::string& lines) {
    write_file_atomic(directory / (name + ".jsonl"), lines);
  }
  TemporaryDirectory directory;
  std::string path() const { return directory / ""; }
};

Task read(const std::string& name, const std::string& lines, std::int64_t limit = 0) {
  const TaskFile file(name, lines);
  return read_task(name, file.path(), limit);
}

TEST(Tasks, LambadaGuessesTheLastWord) {
  const Task task = read("lambada_openai", R"({"text": "one two  three"})"
                                           "\n\n"
                                           R"({"text": "a b"})");
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items[0].choices[0].context, "one two ");
  EXPECT_EQ(task.items[0].choices[0].continuation, " three");
  EXPECT_TRUE(task.kind.is_cloze);
}

TEST(Tasks, QuestionsHaveChoicesAfterASpace) {
  const Task task = read("arc_easy", R"({"query": "Q", "choices": ["\u00dc", "bb"], "gold": 1})");
  const TaskItem& item = task.items.at(0);
  EXPECT_EQ(item.choices[0].context, "Q");
  EXPECT_EQ(item.choices[0].continuation, " \xc3\x9c");
  EXPECT_EQ(item.choices[0].characters, 1);
  EXPECT_EQ(item.choices[1].characters, 2);
  EXPECT_EQ(item.gold, 1u);
}

TEST(Tasks, GoalsAreAskedAndBeginningsJudgedByTheSameEnd) {
  const Task piqa = read("piqa", R"({"query": "dresser", "choices": ["a", "b"], "gold": 0})");
  EXPECT_EQ(piqa.items[0].choices[1].context, "Question: dresser\nAnswer:");
  const Task winogrande =
      read("winogrande", R"({"context_options": ["x A", "x B"], "continuation": "c", "gold": 1})");
  EXPECT_EQ(winogrande.items[0].choices[0].context, "x A");
  EXPECT_EQ(winogrande.items[0].choices[1].context, "x B");
  EXPECT_EQ(winogrande.items[0].choices[1].continuation, " c");
}

TEST(Tasks, LimitTakesTheFirstItems) {
  const std::string line = R"({"query": "Q", "choices": ["a", "b"], "gold": 1})";
  EXPECT_EQ(read("arc_easy", line + "\n" + line + "\n" + line, 2).items.size(), 2u);
}

TEST(Tasks, BrokenFilesGetOneSentence) {
  const auto refuse = [](const std::string& name, const std::string& lines,
                         std::initializer_list<std::string> parts) {
    expect_error([&] { read(name, lines); }, ErrorCode::bad_data, parts);
  };
  refuse("piqa", "", {"piqa.jsonl", "no item"});
  refuse("piqa", "{\"query\": 1}", {"piqa.jsonl:1", "query", "number"});
  refuse("piqa", "\n{\"query\": \"a\"}", {"piqa.jsonl:2", "choices", "missing"});
  refuse("piqa", "{\"query\": \"a\", \"choices\": [\"a\"], \"gold\": 0}", {"choices", "two"});
  for (const char* gold : {"2", "-1", "\"0\"", "0.5"}) {
    refuse("piqa",
           std::string("{\"query\": \"a\", \"choices\": [\"a\", \"b\"], \"gold\": ") + gold + "}",
           {"gold", "2 choices", gold});
  }
  refuse("arc_easy", "[1]", {"arc_easy.jsonl:1", "object"});
  refuse("arc_easy", "{", {"arc_easy.jsonl:1"});
  refuse("lambada_openai", "{\"text\": \"word\"}", {"lambada_openai.jsonl:1", "space"});
  expect_error([] { read_task("piqqa", "."); }, ErrorCode::invalid_argument,
               {"did you mean \"piqa\"", "winogrande"});
  expect_error([] { read_task("piqa", "/nonexistent"); }, ErrorCode::not_found, {"piqa.jsonl"});
}

/// ln p of the ids after the first `context`, one token at a time from scratch.
Likelihood naive(const Engine& engine, const std::vector<std::int32_t>& ids, std::size_t context) {
  SequenceState state = executor_of(engine).new_state();
  const std::vector<float> logits = all_logits(engine, ids, state);
  const auto rows = static_cast<std::size_t>(engine.vocab_rows());
  Likelihood result;
  for (std::size_t t = context; t < ids.size(); ++t) {
    const std::span row(logits.data() + (t - 1) * rows,
                        static_cast<std::size_t>(engine.vocab_size()));
    long double sum = 0;
    for (float x : row) sum += std::exp(static_cast<long double>(x));
    result.log_likelihood +=
        static_cast<double>(row[static_cast<std::size_t>(ids[t])] - std::log(sum));
    result.is_greedy &= argmax(row) == ids[t];
    ++result.tokens;
  }
  return result;
}

TEST(Likelihoods, AreThoseOfEveryChoiceOnItsOwn) {
  const Engine engine = byte_engine({.threads = 2});
  const TaskItem item = {{{"The sky is", " blue", 4},
                          {"The sky is", " a", 1},
                          {"The sky is", " green and wide", 14},
                          {"The sea ", " was", 3}},
                         0};
  const std::vector<Likelihood> found = likelihoods(engine, item);
  ASSERT_EQ(found.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto ids = engine.encode(item.choices[i].context + item.choices[i].continuation, false);
    // The byte tokenizer: as many ids as bytes; the space that ends the last context moves.
    const std::size_t context = i == 3 ? 7 : 10;
    const Likelihood expected = naive(engine, ids, context);
    EXPECT_NEAR(found[i].log_likelihood, expected.log_likelihood, 1e-9) << i;
    EXPECT_EQ(found[i].is_greedy, expected.is_greedy);
    EXPECT_EQ(found[i].tokens, expected.tokens);
  }
}

TEST(Likelihoods, LongContextsLoseTheirBeginning) {
  const Engine engine = byte_engine();
  const TaskItem whole = {{{"0123456789", " ab", 2}}, 0};
  const TaskItem cut = {{{"56789", " ab", 2}}, 0};
  EXPECT_EQ(likelihoods(engine, whole, 7)[0].log_likelihood,
            likelihoods(engine, cut)[0].log_likelihood);
  EXPECT_NE(likelihoods(engine, whole, 8)[0].log_likelihood,
            likelihoods(engine, cut)[0].log_likelihood);
  expect_error([&] { likelihoods(engine, whole, 2); }, ErrorCode::invalid_argument, {"3 tokens"});
}

TEST(Likelihoods, AnEmptyContextIsTheEndOfText) {
  const Engine engine = byte_engine();
  std::vector<std::int32_t> encoded = engine.encode(" a", false);
  encoded.insert(encoded.begin(), kTestEos);
  EXPECT_NEAR(likelihoods(engine, {{{"", " a", 1}}, 0})[0].log_likelihood,
              naive(engine, encoded, 1).log_likelihood, 1e-9);
}

Likelihood of(double value, bool greedy = false) { return {value, greedy, 1}; }

TEST(Metrics, AccuracyWithAndWithoutLength) {
  const Task task = {{"t", true, false, "acc"},
                     {{{{"", "", 10}, {"", "", 2}}, 0}, {{{"", "", 1}, {"", "", 1}}, 1}}};
  const TaskScores scores = {{{of(-20), of(-5)}, {of(-3), of(-3)}}};
  const std::vector<Metric> metrics = metrics_of(task, scores);
  ASSERT_EQ(metrics.size(), 2u);
  EXPECT_EQ(metrics[0].items, (std::vector<double>{0, 0}));  // equal ones: the first wins
  EXPECT_EQ(metrics[1].name, "acc_norm");
  EXPECT_EQ(metrics[1].items, (std::vector<double>{1, 0}));
  EXPECT_EQ(metrics[1].mean.value, 0.5);
  EXPECT_EQ(metrics[1].mean.error, 0.5);  // sqrt(0.5 / 2)
}

TEST(Metrics, ClozeIsRightIfGreedy) {
  const Task task = {{"t", false, true, "acc"}, {{{{"", "", 1}}, 0}, {{{"", "", 1}}, 0}}};
  const std::vector<Metric> metrics = metrics_of(task, {{{of(-1, true)}, {of(-3)}}});
  EXPECT_EQ(metrics[0].items, (std::vector<double>{1, 0}));
  EXPECT_EQ(metrics[1].name, "perplexity");
  EXPECT_NEAR(metrics[1].mean.value, std::exp(2.0), 1e-12);
  EXPECT_NEAR(metrics[1].mean.error, std::exp(2.0) * 1.0, 1e-12);
}

TEST(Metrics, DifferencesArePaired) {
  const Metric a = {"acc", {1, 1, 0, 1}, {}}, b = {"acc", {1, 0, 0, 1}, {}};
  const Mean difference = paired_difference(a, b);
  EXPECT_EQ(difference.value, 0.25);
  EXPECT_EQ(difference.error, 0.25);
  EXPECT_THROW(paired_difference(a, {"acc", {1}, {}}), Error);
}

}  // namespace
}  // namespace krait
