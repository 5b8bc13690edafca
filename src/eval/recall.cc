#include "eval/recall.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "core/check.h"
#include "core/choices.h"
#include "eval/continuations.h"
#include "eval/recall_prompts.h"
#include "eval/score.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

using enum ErrorCode;
using Ids = std::vector<std::int32_t>;

/// A place of the filler where the state of the text so far is wanted.
struct Stop {
  std::int64_t position = 0;  ///< tokens of filler before it
  std::size_t task = 0, cell = 0;
  std::int64_t distance = 0;
  bool has_needle = false;  ///< false: the question without it
};

void check_options(const RecallOptions& options, std::span<const std::string> tasks) {
  const std::vector<std::string> known = recall_tasks();
  for (const std::string& task : tasks) {
    if (std::find(known.begin(), known.end(), task) == known.end()) {
      fail(invalid_argument, "there is no recall task {}", unknown_name(task, known));
    }
  }
  check(options.needles >= 2 && options.fillers >= 1, invalid_argument,
        "recall needs at least 2 needles and 1 filler, got {} and {}", options.needles,
        options.fillers);
  check(!options.lengths.empty() && !options.distances.empty(), invalid_argument,
        "recall needs lengths and distances");
  for (const std::int64_t distance : options.distances) {
    check(distance >= 0, invalid_argument, "distances must not be negative, got {}", distance);
  }
}

/// `count` tokens, those of filler number `index`.
Ids filler_window(std::span<const std::int32_t> filler, std::int64_t count, std::size_t index) {
  Ids window(static_cast<std::size_t>(count));
  const std::size_t begin = index * window.size();
  for (std::size_t i = 0; i < window.size(); ++i) window[i] = filler[(begin + i) % filler.size()];
  return window;
}

/// Log-likelihoods of all answers to one question after another, from copies of `state`.
class Asker {
 public:
  Asker(const Engine& engine, const RecallPrompts& prompts)
      : engine_(engine),
        prompts_(prompts),
        logits_(static_cast<std::size_t>(engine.vocab_rows())) {}

  /// Questions of the same words are asked once.
  const std::vector<Likelihood>& ask(const SequenceState& state, const Ids& question) {
    if (question != last_) {
      SequenceState asked = state;
      executor_of(engine_).read(question, asked, LogitRows::last, logits_.data());
      answers_ = score_continuations(engine_, asked, logits_, prompts_.answers);
      last_ = question;
    }
    return answers_;
  }
  void forget() { last_.clear(); }

 private:
  const Engine& engine_;
  const RecallPrompts& prompts_;
  std::vector<float> logits_;
  Ids last_;
  std::vector<Likelihood> answers_;
};

RecallItem judge(const std::vector<Likelihood>& answers, const std::vector<Likelihood>& without,
                 std::size_t right) {
  RecallItem item;
  item.log_likelihood = answers[right].log_likelihood;
  item.without = without[right].log_likelihood;
  item.exact = answers[right].is_greedy;
  item.first = answers[right].first_is_greedy;
  item.tokens = answers[right].tokens;
  item.chosen = true;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const double gain = answers[i].log_likelihood - without[i].log_likelihood;
    if (i != right) item.chosen &= gain < item.log_likelihood - item.without;
  }
  return item;
}

/// The cells of all tasks, without items, and where the filler has to be left for them. Cells of
/// one task are by length, then by distance.
struct Schedule {
  std::vector<RecallCell> cells;
  std::vector<Stop> stops;  ///< by position
};

Schedule make_schedule(const RecallOptions& options, std::span<const std::string> tasks,
                       std::span<const std::vector<RecallPrompts>> fillers) {
  Schedule schedule;
  std::vector<std::int64_t> lengths = options.lengths, distances = options.distances;
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    std::int64_t longest = 0;  // the same for all fillers, so that their cells are
    for (const std::vector<RecallPrompts>& prompts : fillers) {
      longest = std::max(longest, static_cast<std::int64_t>(prompts[t].longest()));
    }
    for (const std::int64_t length : lengths) {
      const std::int64_t room = length - longest;
      check(room > 0, invalid_argument, "{}: {} tokens leave no room for filler: take at least {}",
            tasks[t], length, longest + 1);
      std::vector<std::int64_t> fitting;
      for (const std::int64_t d : distances) {
        if (d <= room) fitting.push_back(d == 0 ? room : d);
      }
      std::sort(fitting.begin(), fitting.end());
      fitting.erase(std::unique(fitting.begin(), fitting.end()), fitting.end());
      const std::size_t first = schedule.cells.size();
      for (const std::int64_t distance : fitting) {
        schedule.stops.push_back({room - distance, t, schedule.cells.size(), distance, true});
        RecallCell cell{.task = tasks[t], .length = length, .distance = distance};
        cell.depth = static_cast<double>(room - distance) / static_cast<double>(length);
        cell.chance = 1.0 / options.needles;
        schedule.cells.push_back(std::move(cell));
      }
      if (!fitting.empty()) schedule.stops.push_back({room, t, first, 0, false});
    }
  }
  std::stable_sort(schedule.stops.begin(), schedule.stops.end(),
                   [](const Stop& a, const Stop& b) { return a.position < b.position; });
  return schedule;
}

/// Tokens that one filler costs.
std::int64_t work_of(const Schedule& schedule, std::span<const RecallPrompts> prompts) {
  std::int64_t tokens = schedule.stops.empty() ? 0 : schedule.stops.back().position;
  for (const Stop& stop : schedule.stops) {
    const auto needles = static_cast<std::int64_t>(prompts[stop.task].needles.size());
    if (stop.has_needle) tokens += needles * stop.distance;
  }
  return tokens;
}

/// Adds the items of one filler to the cells. `done` is told of tokens.
void run_filler(const Engine& engine, int filler, std::span<const std::int32_t> text,
                std::span<const RecallPrompts> prompts, Schedule& schedule,
                const std::function<void(std::int64_t)>& done) {
  Executor& executor = executor_of(engine);
  const auto part = [&](std::int64_t begin, std::int64_t count) {
    return text.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  };
  using Answers = std::vector<std::vector<Likelihood>>;  // to all questions of a task, one by one
  std::vector<Answers> with(schedule.cells.size());
  std::map<std::pair<std::size_t, std::int64_t>, Answers> without;  // by task and length
  SequenceState state = executor.new_state();
  for (const Stop& stop : schedule.stops) {
    const std::int64_t missing = stop.position - state.position();
    executor.read(part(state.position(), missing), state);
    done(missing);
    Asker asker(engine, prompts[stop.task]);
    for (const RecallNeedle& needle : prompts[stop.task].needles) {
      if (!stop.has_needle) {
        Answers& answers = without[{stop.task, schedule.cells[stop.cell].length}];
        for (const RecallQuestion& question : needle.questions) {
          answers.push_back(asker.ask(state, question.ids));
        }
        continue;
      }
      SequenceState after = state;
      executor.read(needle.ids, after);
      executor.read(part(stop.position, stop.distance), after);
      done(stop.distance);
      asker.forget();
      for (const RecallQuestion& question : needle.questions) {
        with[stop.cell].push_back(asker.ask(after, question.ids));
      }
    }
  }
  for (const Stop& stop : schedule.stops) {
    if (!stop.has_needle) continue;
    RecallCell& cell = schedule.cells[stop.cell];
    const Answers& base = without.at({stop.task, cell.length});
    std::size_t i = 0;
    for (const RecallNeedle& needle : prompts[stop.task].needles) {
      for (const RecallQuestion& question : needle.questions) {
        cell.items.push_back(judge(with[stop.cell][i], base[i], question.answer));
        cell.items.back().filler = filler;
        ++i;
      }
    }
  }
}

/// Mean of fn(i) over the items i, its error over the means of the fillers.
template <typename Fn>
Mean mean_by_filler(const RecallCell& cell, Fn&& fn) {
  std::map<int, std::vector<double>> fillers;
  for (std::size_t i = 0; i < cell.items.size(); ++i) {
    fillers[cell.items[i].filler].push_back(fn(i));
  }
  if (fillers.size() == 1) return mean_of(fillers.begin()->second);
  std::vector<double> means;  // of equally many items each
  means.reserve(fillers.size());
  for (const auto& [filler, values] : fillers) means.push_back(mean_of(values).value);
  return mean_of(means);
}

std::size_t groups_of(const RecallCell& cell) {
  std::set<int> fillers;
  for (const RecallItem& item : cell.items) fillers.insert(item.filler);
  return fillers.size() > 1 ? fillers.size() : cell.items.size();
}

double gain_of(const RecallItem& item) { return item.log_likelihood - item.without; }

}  // namespace

std::vector<std::string> recall_tasks() { return {"passkey", "associative_recall", "induction"}; }

std::vector<RecallCell> recall(const Engine& engine, std::span<const std::int32_t> filler,
                               const RecallOptions& options, const ProgressFn& progress) {
  const std::vector<std::string> tasks = options.tasks.empty() ? recall_tasks() : options.tasks;
  check_options(options, tasks);
  check(!filler.empty(), invalid_argument, "recall needs filler text, got none");
  check_scored_ids(filler, engine);
  const Ids words = recall_words(engine);
  const std::int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());

  std::vector<std::vector<RecallPrompts>> fillers(static_cast<std::size_t>(options.fillers));
  for (std::size_t f = 0; f < fillers.size(); ++f) {
    Rng rng(options.seed + f);
    for (const std::string& task : tasks) {
      fillers[f].push_back(make_recall_prompts(task, engine, options.needles, words, rng));
    }
  }
  Schedule schedule = make_schedule(options, tasks, fillers);
  Progress report{"recall", 0, options.fillers * work_of(schedule, fillers.front()), "tokens"};
  for (std::size_t f = 0; f < fillers.size(); ++f) {
    const Ids text = filler_window(filler, longest, f);
    run_filler(engine, static_cast<int>(f), text, fillers[f], schedule, [&](std::int64_t tokens) {
      report.done += tokens;
      if (progress) progress(report);
    });
  }
  return std::move(schedule.cells);
}

RecallSummary summarize(const RecallCell& cell) {
  const auto of = [&](auto&& value) {
    return mean_by_filler(cell, [&](std::size_t i) { return value(cell.items[i]); });
  };
  return {groups_of(cell),
          of([](const RecallItem& i) { return i.exact ? 1.0 : 0.0; }),
          of([](const RecallItem& i) { return i.first ? 1.0 : 0.0; }),
          of([](const RecallItem& i) { return i.chosen ? 1.0 : 0.0; }),
          of([](const RecallItem& i) { return -i.log_likelihood; }),
          of(gain_of)};
}

RecallSummary paired_difference(const RecallCell& model, const RecallCell& reference) {
  check(model.task == reference.task && model.length == reference.length &&
            model.distance == reference.distance && model.items.size() == reference.items.size(),
        invalid_argument, "{} at {} and {} at {} tokens cannot be paired", model.task, model.length,
        reference.task, reference.length);
  const auto of = [&](auto&& value) {
    return mean_by_filler(
        model, [&](std::size_t i) { return value(model.items[i]) - value(reference.items[i]); });
  };
  return {groups_of(model),
          of([](const RecallItem& i) { return i.exact ? 1.0 : 0.0; }),
          of([](const RecallItem& i) { return i.first ? 1.0 : 0.0; }),
          of([](const RecallItem& i) { return i.chosen ? 1.0 : 0.0; }),
          of([](const RecallItem& i) { return -i.log_likelihood; }),
          of(gain_of)};
}

}  // namespace krait
