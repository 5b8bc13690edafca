#include "runtime/writer.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "runtime/softmax.h"

namespace krait {
namespace {

std::uint64_t seed_of_chance() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

const GenerateOptions& checked(const GenerateOptions& options) {
  check_options(options);
  return options;
}

}  // namespace

Writer::Writer(const LoadedModel& model, Sequence& sequence, const GenerateOptions& options)
    : model_(model),
      sequence_(sequence),
      options_(checked(options)),
      sampler_(options, model.vocab_size),
      filter_(options.stop) {
  if (options.seed) {
    sequence.random.emplace(*options.seed);
  } else if (!sequence.random && options.temperature > 0) {
    sequence.random.emplace(seed_of_chance());
  }
  if (options.max_tokens == 0) finish_ = FinishReason::length;
}

void Writer::add_logprobs(Token& token) const {
  const std::span<const float> row(sequence_.logits.data(),
                                   static_cast<std::size_t>(model_.vocab_size));
  const double sum = log_sum_exp(row);
  const auto logprob = [&](std::int32_t id) { return row[static_cast<std::size_t>(id)] - sum; };
  token.logprob = logprob(token.id);
  std::vector<std::int32_t> ids(row.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  const auto count = std::min(static_cast<std::size_t>(options_.logprobs), ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      const float x = row[static_cast<std::size_t>(a)];
                      const float y = row[static_cast<std::size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  for (std::size_t i = 0; i < count; ++i) token.top.push_back({ids[i], logprob(ids[i])});
}

Token Writer::write() {
  std::optional<TextStream> text = options_.stop.empty() ? std::nullopt : sequence_.text;
  std::string shown = sequence_.shown;
  const std::optional<RandomNumbers> random = sequence_.random;
  Rng unused(0);  // temperature 0
  Token token;
  token.id = sampler_.sample(sequence_.logits, sequence_.history,
                             sequence_.random ? sequence_.random->rng : unused);
  if (options_.logprobs >= 0) add_logprobs(token);
  ++written_;
  const bool is_end =
      !options_.ignore_eos && std::ranges::find(model_.eos_ids, token.id) != model_.eos_ids.end();
  const bool is_last = written_ == options_.max_tokens;
  std::string piece;
  if (is_end) {
    piece = sequence_.show_end();
  } else {
    piece = sequence_.show(token.id);
    if (is_last) piece += sequence_.show_rest();
    next_ = token.id;
  }
  token.text = filter_.push(piece);
  given_ += piece.size();
  shown_ += token.text.size();

  const auto before_token = [&] {  // where nothing of it was drawn yet
    Sequence before = sequence_;
    before.text = std::move(text);
    before.shown = std::move(shown);
    before.random = random;
    return before;
  };
  if (filter_.stopped()) {
    finish_ = FinishReason::stop;
    go_back(shown_, is_end ? sequence_ : before_token());
  } else if (is_end || is_last) {
    finish_ = is_end ? FinishReason::stop : FinishReason::length;
    token.text += filter_.flush();
    copies_.clear();
  } else if (text) {
    while (!copies_.empty() && copies_.front().end <= shown_) copies_.pop_front();
    const std::size_t end = given_ + sequence_.text->held();
    if (end > shown_) copies_.push_back({end, before_token()});
  }
  return token;
}

/// To where the text was `shown` bytes long: before the first token that goes on from there.
void Writer::go_back(std::size_t shown, Sequence before) {
  const auto first = std::ranges::find_if(copies_, [&](const Copy& c) { return c.end > shown; });
  sequence_ = first != copies_.end() ? std::move(first->sequence) : std::move(before);
  copies_.clear();
  next_.reset();
}

void Writer::consumed() {
  sequence_.history.push_back(*next_);
  next_.reset();
}

void Writer::cancel() {
  if (finish_ != FinishReason::running) return;
  finish_ = FinishReason::cancelled;
  if (shown_ < given_) go_back(shown_, sequence_);
}

}  // namespace krait
