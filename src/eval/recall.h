// What a model remembers over a long context: facts hidden in filler text and asked for at the end.
// A state of constant size has to carry them, and nothing but this sees errors of the state.
//
//  * passkey (Mohtashami and Jaggi 2023, "Landmark attention", arXiv 2305.16300): a sentence with a
//    random number of five digits; one number per prompt.
//  * associative_recall (MQAR: Arora et al. 2023, "Zoology", arXiv 2312.04927): pairs of a key and
//    a value, random words of one token, one after the other; then one of the keys, whose value has
//    to follow.
//  * induction (Olsson et al. 2022, arXiv 2209.11895): a sequence of random words once, and at the
//    end all of it but its last word, which has to follow. The easiest of the three.
//
// A prompt is filler[0, P) + needle + filler[P, P + distance) + question, at most `length` tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/windows.h"
#include "krait/engine.h"
#include "krait/quantize.h"

namespace krait {

struct RecallOptions {
  std::vector<std::string> tasks;                             ///< empty: recall_tasks()
  std::vector<std::int64_t> lengths{512, 2048, 8192, 32768};  ///< tokens of the prompts, at most
  /// Tokens of filler between needle and question; 0: all of it, the needle comes first. Those that
  /// do not fit in a length are left out there.
  std::vector<std::int64_t> distances{16, 64, 256, 1024, 0};
  int needles = 8;  ///< different answers for each filler: the chance of a choice is 1 in so many
  int fillers = 8;  ///< different texts, each with needles of its own
  std::uint64_t seed = 1234;
};

std::vector<std::string> recall_tasks();

/// One question.
struct RecallItem {
  double log_likelihood = 0;  ///< nats, of all tokens of the right answer
  double without = 0;         ///< the same where the needle is left out of the prompt
  bool exact = false;         ///< every token of the answer is the most likely one
  bool first = false;         ///< its first token is
  /// No other needle's answer gains as much from the prompt's needle: what is likely anyway does
  /// not count (as in Holtzman et al. 2021, arXiv 2104.08315).
  bool chosen = false;
  std::int64_t tokens = 0;  ///< of the answer
  int filler = 0;           ///< its text
};

/// All questions of a task at one length and distance.
struct RecallCell {
  std::string task;
  std::int64_t length = 0, distance = 0;  ///< tokens
  double depth = 0;                       ///< where the needle begins, as a share of the prompt
  double chance = 0;                      ///< of `chosen`
  std::vector<RecallItem> items = {};
};

/// `filler`: token ids, cut into windows of the greatest length from the start; it begins anew
/// where it ends. Equal options give the same prompts for models of one vocabulary, cell by cell
/// and item by item. Errors: invalid_argument for unknown tasks, lengths that leave no room for
/// filler (with what is needed), too few words in the vocabulary; not_found without a tokenizer
/// (passkey).
std::vector<RecallCell> recall(const Engine& engine, std::span<const std::int32_t> filler,
                               const RecallOptions& options = {}, const ProgressFn& progress = {});

/// Mean over the items of a cell, or over the paired differences of the items of two. Questions in
/// one filler text share its state and the prompts without needles, so standard errors are over the
/// means of the fillers; over items if there is one filler only.
struct RecallSummary {
  std::size_t groups = 0;  ///< that errors are over: their 95 % interval is student95(groups) wide
  Mean exact, first, chosen;  ///< shares
  Mean nll;                   ///< nats per answer
  Mean gain;  ///< log-likelihood with the needle minus without: nats that the prompt's needle gives
};
RecallSummary summarize(const RecallCell& cell);
/// model - reference. Error: invalid_argument unless both asked the same.
RecallSummary paired_difference(const RecallCell& model, const RecallCell& reference);

}  // namespace krait
