#include "eval/likelihood.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "eval/continuations.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

using Ids = std::vector<std::int32_t>;

struct Encoded {
  Ids context, continuation;
};

Encoded encode(const Engine& engine, const TaskChoice& choice, std::int64_t max_length) {
  std::string context = choice.context, continuation = choice.continuation;
  while (!context.empty() && (context.back() == ' ' || context.back() == '\n' ||
                              context.back() == '\t' || context.back() == '\r')) {
    continuation.insert(continuation.begin(), context.back());
    context.pop_back();
  }
  Encoded result;
  result.context = engine.encode(context, false);
  Ids whole = engine.encode(context + continuation, false);
  const std::size_t begin = std::min(result.context.size(), whole.size());
  result.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(begin), whole.end());
  check(!result.continuation.empty(), ErrorCode::invalid_argument,
        "a continuation has no token of its own: its text melts into the context's last token");
  if (result.context.empty()) {
    check(!engine.eos_ids().empty(), ErrorCode::invalid_argument,
          "an empty context needs an end-of-text token, and the model has none");
    result.context = {engine.eos_ids().front()};
  }
  // The last token is predicted but not read.
  const auto most = static_cast<std::size_t>(max_length);
  check(result.continuation.size() <= most, ErrorCode::invalid_argument,
        "a continuation of {} tokens is longer than {}", result.continuation.size(), max_length);
  const std::size_t room = most + 1 - result.continuation.size();
  if (result.context.size() > room) {
    result.context.erase(result.context.begin(),
                         result.context.end() - static_cast<std::ptrdiff_t>(room));
  }
  return result;
}

std::size_t best(const std::vector<Likelihood>& choices, const TaskItem& item, bool per_character) {
  std::size_t winner = 0;
  double highest = 0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto characters =
        static_cast<double>(std::max<std::int64_t>(item.choices[i].characters, 1));
    const double value = choices[i].log_likelihood / (per_character ? characters : 1.0);
    if (i == 0 || value > highest) {
      winner = i;
      highest = value;
    }
  }
  return winner;
}

}  // namespace

std::vector<Likelihood> likelihoods(const Engine& engine, const TaskItem& item,
                                    std::int64_t max_length) {
  Executor& executor = executor_of(engine);
  std::vector<Ids> contexts, continuations;
  for (const TaskChoice& choice : item.choices) {
    Encoded encoded = encode(engine, choice, max_length);
    contexts.push_back(std::move(encoded.context));
    continuations.push_back(std::move(encoded.continuation));
  }
  std::vector<Likelihood> result;
  std::vector<float> logits(static_cast<std::size_t>(engine.vocab_rows()));
  for (std::size_t begin = 0, end = 0; begin < contexts.size(); begin = end) {
    for (end = begin + 1; end < contexts.size(); ++end) {
      if (contexts[end] != contexts[begin]) break;
    }
    SequenceState state = executor.new_state();
    executor.read(contexts[begin], state, LogitRows::last, logits.data());
    const std::vector<Likelihood> scores = score_continuations(
        engine, state, logits, std::span(continuations).subspan(begin, end - begin));
    result.insert(result.end(), scores.begin(), scores.end());
  }
  return result;
}

TaskScores score_task(const Engine& engine, const Task& task, const ProgressFn& progress) {
  TaskScores scores;
  scores.items.reserve(task.items.size());
  Progress report{std::string(task.kind.name), 0, static_cast<std::int64_t>(task.items.size()),
                  "items"};
  for (const TaskItem& item : task.items) {
    if (progress) progress(report);
    scores.items.push_back(likelihoods(engine, item));
    ++report.done;
  }
  if (progress) progress(report);
  return scores;
}

std::vector<Metric> metrics_of(const Task& task, const TaskScores& scores) {
  std::vector<Metric> metrics{{"acc", {}, {}}};
  if (task.kind.has_acc_norm) metrics.push_back({"acc_norm", {}, {}});
  if (task.kind.is_cloze) metrics.push_back({"perplexity", {}, {}});
  for (std::size_t i = 0; i < task.items.size(); ++i) {
    const TaskItem& item = task.items[i];
    const std::vector<Likelihood>& choices = scores.items[i];
    for (Metric& metric : metrics) {
      double value = 0;
      if (metric.name == "perplexity") {
        value = -choices[0].log_likelihood;
      } else if (task.kind.is_cloze) {
        value = choices[0].is_greedy ? 1 : 0;
      } else {
        value = best(choices, item, metric.name == "acc_norm") == item.gold ? 1 : 0;
      }
      metric.items.push_back(value);
    }
  }
  for (Metric& metric : metrics) {
    metric.mean = mean_of(metric.items);
    if (metric.name == "perplexity") {
      metric.mean.value = std::exp(metric.mean.value);
      metric.mean.error *= metric.mean.value;
    }
  }
  return metrics;
}

Mean paired_difference(const Metric& model, const Metric& reference) {
  check(model.items.size() == reference.items.size(), ErrorCode::invalid_argument,
        "{} and {} items cannot be paired", model.items.size(), reference.items.size());
  std::vector<double> difference(model.items.size());
  for (std::size_t i = 0; i < difference.size(); ++i) {
    difference[i] = model.items[i] - reference.items[i];
  }
  return mean_of(difference);
}

}  // namespace krait
