// How likely a model finds continuations, and what that makes of a task.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/tasks.h"
#include "eval/windows.h"
#include "krait/engine.h"
#include "krait/quantize.h"

namespace krait {

struct Likelihood {
  double log_likelihood = 0;  ///< nats, of all tokens of the continuation
  bool is_greedy = true;      ///< every token is the most likely one
  std::int64_t tokens = 0;
  bool first_is_greedy = false;  ///< the first token is the most likely one
};

/// The continuation's tokens are those of context + continuation after the first n, n being the
/// number of tokens of the context alone; spaces at the context's end count to the continuation. At
/// most `max_length` tokens are read: long contexts lose their beginning. An empty context is the
/// end-of-text token. The state after the context is computed once for all choices that share it.
/// Softmax over ids below vocab_size. Errors: not_found without a tokenizer; invalid_argument for a
/// continuation without a token.
std::vector<Likelihood> likelihoods(const Engine& engine, const TaskItem& item,
                                    std::int64_t max_length = 2048);

struct TaskScores {
  std::vector<std::vector<Likelihood>> items;  ///< by item, then by choice
};

/// Errors: as likelihoods().
TaskScores score_task(const Engine& engine, const Task& task, const ProgressFn& progress = {});

/// A metric item by item, so that two models can be compared pairwise.
struct Metric {
  std::string name;           ///< "acc", "acc_norm", "perplexity"
  std::vector<double> items;  ///< 1 or 0; of perplexity the negative log-likelihood
  Mean mean;  ///< of the items; perplexity: exp of the mean, its error by the delta method
};
std::vector<Metric> metrics_of(const Task& task, const TaskScores& scores);

/// Mean of model - reference over the items and its standard error. Of perplexity: of the negative
/// log-likelihoods.
Mean paired_difference(const Metric& model, const Metric& reference);

}  // namespace krait
