#include "runtime/scheduler.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/check.h"
#include "runtime/writer.h"

namespace krait {

using enum ErrorCode;

namespace {

constexpr std::int64_t kFewestTokens = 16;  // a prompt always gets on
constexpr std::int64_t kFirstTokens = 32;   // of a machine that is not known yet

}  // namespace

std::int64_t PromptBudget::tokens(std::size_t decoding) const {
  if (decoding == 0) return most_;
  const double tokens = per_token_ > 0 ? seconds_ / per_token_ : kFirstTokens;
  const double own = tokens - static_cast<double>(decoding);
  return std::clamp(static_cast<std::int64_t>(std::min(own, 1e9)), std::min(kFewestTokens, most_),
                    most_);
}

void PromptBudget::measured(std::int64_t tokens, double seconds) {
  const double now = seconds / static_cast<double>(tokens);
  // Slower at once, faster by and by: a pass that is too long is what someone notices. But one
  // alone may have had a busy neighbour.
  per_token_ = now > per_token_ && per_token_ > 0 ? std::min(now, 2 * per_token_)
               : per_token_ == 0                  ? now
                                                  : 0.75 * per_token_ + 0.25 * now;
}

struct Scheduler::Job {
  std::uint64_t request;
  Sequence& sequence;
  std::vector<std::int32_t> prompt;
  CancelToken cancel;
  std::size_t bytes;  // that its sequence may grow to
  Writer writer;
  std::size_t read = 0;  // tokens of the prompt
  std::optional<Error> error = std::nullopt;

  std::span<const std::int32_t> unread() const { return std::span(prompt).subspan(read); }
  bool is_over() const {
    return error ||
           (!writer.next() && unread().empty() && writer.finish() != FinishReason::running);
  }
  void stop() {
    prompt.resize(read);
    writer.cancel();
  }
};

Scheduler::Scheduler(std::shared_ptr<LoadedModel> model, const SchedulerOptions& options)
    : model_(std::move(model)),
      options_(options),
      budget_(options.step_seconds, options.step_tokens) {}

Scheduler::~Scheduler() = default;

std::uint64_t Scheduler::submit(Sequence& sequence, std::vector<std::int32_t> prompt,
                                const GenerateOptions& options) {
  model_->executor.check_ids(prompt);
  const bool is_new = sequence.state.position() == 0;
  check(!prompt.empty() || !sequence.logits.empty(), invalid_argument,
        "the prompt is empty and there is {} to continue from: give a text",
        is_new ? "nothing before it" : "no logits in the saved state");
  const StateLayout& layout = sequence.state.layout();
  const auto tokens = static_cast<std::size_t>(sequence.state.position()) + prompt.size() +
                      static_cast<std::size_t>(std::max(options.max_tokens, 0));
  const std::size_t bytes = layout.bytes + layout.bytes_per_token * tokens;
  check(bytes <= options_.memory, out_of_memory,
        "a sequence of {} tokens takes {} bytes, {} are allowed for all", tokens, bytes,
        options_.memory);
  auto job = std::make_unique<Job>(Job{0, sequence, std::move(prompt), options.cancel, bytes,
                                       Writer(*model_, sequence, options)});
  const std::lock_guard lock(mutex_);
  check(waiting_.size() < options_.waiting, busy, "{} requests wait already: try again later",
        waiting_.size());
  job->request = ++last_;
  waiting_.push_back(std::move(job));
  arrived_.notify_one();
  return last_;
}

void Scheduler::cancel(std::uint64_t request) {
  const std::lock_guard lock(mutex_);
  cancelled_.push_back(request);
  arrived_.notify_one();
}

/// Requests that begin: those without a prompt write their first token at once.
void Scheduler::admit(std::vector<Event>& events) {
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  while (count < waiting_.size() &&
         (memory_ == 0 || memory_ + waiting_[count]->bytes <= options_.memory)) {
    Job& job = *waiting_[count];
    memory_ += job.bytes;
    jobs_.push_back(std::move(waiting_[count++]));
    const bool writes = job.prompt.empty() && job.writer.finish() == FinishReason::running &&
                        !job.cancel.cancelled();
    if (writes) events.push_back({job.request, job.writer.write()});
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  has_jobs_ = !jobs_.empty();
}

void Scheduler::look_for_cancelled() {
  const std::lock_guard lock(mutex_);
  const auto look = [&](Job& job) {
    const bool is_named = std::ranges::find(cancelled_, job.request) != cancelled_.end();
    if (is_named || job.cancel.cancelled()) job.stop();
  };
  for (const auto& job : jobs_) look(*job);
  for (auto& job : waiting_) {
    look(*job);
    if (!job->is_over()) continue;
    memory_ += job->bytes;  // for a moment: it need not wait to be told that it is over
    jobs_.push_back(std::move(job));
  }
  std::erase(waiting_, nullptr);
  cancelled_.clear();
}

void Scheduler::remove_ended(std::vector<Event>& events) {
  for (const auto& job : jobs_) {
    if (!job->is_over()) continue;
    events.push_back({job->request, std::nullopt, job->writer.finish(), job->error});
    memory_ -= job->bytes;
  }
  std::erase_if(jobs_, [](const auto& job) { return job->is_over(); });
  const std::lock_guard lock(mutex_);
  has_jobs_ = !jobs_.empty();
}

std::vector<Event> Scheduler::step() {
  std::vector<Event> events;
  look_for_cancelled();
  admit(events);
  remove_ended(events);
  if (!events.empty()) return events;  // a request has no second token in one step

  const auto vocab = static_cast<std::size_t>(model_->executor.model().info().vocab_rows);
  std::vector<Step> steps;
  std::vector<Job*> jobs;  // whose steps they are
  const auto add = [&](Job& job, std::span<const std::int32_t> ids, bool wants_logits) {
    Sequence& sequence = job.sequence;
    sequence.logits.resize(wants_logits ? vocab : 0);
    steps.push_back({sequence.state, ids, wants_logits ? LogitRows::last : LogitRows::none,
                     sequence.logits.data()});
    jobs.push_back(&job);
  };
  for (const auto& job : jobs_) {
    if (job->writer.next()) add(*job, {job->writer.next(), 1}, true);
  }
  const std::size_t decoding = steps.size();
  std::int64_t room = budget_.tokens(decoding);
  for (const auto& job : jobs_) {
    const std::span<const std::int32_t> unread = job->unread();
    if (unread.empty() || room == 0) continue;
    const std::int64_t count = std::min(room, std::ssize(unread));
    add(*job, unread.first(static_cast<std::size_t>(count)), count == std::ssize(unread));
    room -= count;
  }
  if (steps.empty()) return events;

  const auto start = std::chrono::steady_clock::now();
  const std::vector<Overflow> overflows = model_->executor.try_run(steps);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  if (room == 0) {  // the few tokens of a prompt's end say little
    const auto tokens = static_cast<std::int64_t>(decoding) + budget_.tokens(decoding);
    budget_.measured(tokens, taken.count());
  }

  for (std::size_t i = 0; i < steps.size(); ++i) {
    Job& job = *jobs[i];
    if (job.writer.next()) {
      job.writer.consumed();
    } else {
      job.sequence.have_read(steps[i].ids);
      job.read += steps[i].ids.size();
    }
    const auto bad = std::ranges::find(overflows, i, &Overflow::step);
    if (bad != overflows.end()) {
      job.sequence.logits.clear();
      try {
        fail_of_overflow({0, bad->position});
      } catch (const Error& error) {
        job.error = error;
      }
    } else if (job.unread().empty() && job.writer.finish() == FinishReason::running) {
      events.push_back({job.request, job.writer.write()});
    }
  }
  remove_ended(events);
  return events;
}

bool Scheduler::idle() const {
  const std::lock_guard lock(mutex_);
  return !has_jobs_ && waiting_.empty();
}

void Scheduler::wait(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, most, [&] { return has_jobs_ || !waiting_.empty(); });
}

}  // namespace krait
