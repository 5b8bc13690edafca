#include "runtime/sequence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/check.h"
#include "models/byte_reader.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

using enum ErrorCode;

// The sections that may follow the state, in this order; those that are empty are left out.
constexpr std::string_view kHistory = "IDS ", kLogits = "LOGT", kRandom = "RAND", kText = "TEXT";

using RandomState = std::array<std::uint64_t, 4>;
static_assert(sizeof(Rng) == sizeof(RandomState) && std::is_trivially_copyable_v<Rng>);

void append_section(std::string& out, std::string_view tag, std::string_view bytes) {
  if (bytes.empty()) return;
  out += tag;
  append(out, static_cast<std::uint64_t>(bytes.size()));
  out += bytes;
}

template <typename T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
std::vector<T> values_of(std::string_view bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

/// The bytes of the section at the front, if it is this one.
std::string_view take_section(ByteReader& reader, std::string_view tag) {
  if (!reader.left().starts_with(tag)) return {};
  reader.take(tag.size());
  const std::string_view bytes = reader.take(reader.number<std::uint64_t>());
  check(!bytes.empty(), bad_data, "the saved sequence has an empty section {}", tag);
  return bytes;
}

void check_size(bool fits, std::string_view tag, std::size_t size) {
  check(fits, bad_data, "the saved sequence is damaged: its section {} has {} bytes", tag, size);
}

/// What follows the state, into the sequence.
void read_sections(std::string_view bytes, std::int64_t vocab, Sequence& sequence) {
  constexpr std::size_t kSum = sizeof(std::uint64_t);
  check(bytes.size() > kSum, bad_data, "the saved sequence is truncated: {} bytes follow the state",
        bytes.size());
  const std::string_view summed = bytes.substr(0, bytes.size() - kSum);
  check(ByteReader(bytes.substr(summed.size()), "").number<std::uint64_t>() == fnv1a64(summed),
        bad_data, "the saved sequence is damaged: its checksum does not match");
  ByteReader reader(summed, "the saved sequence");

  const std::string_view ids = take_section(reader, kHistory);
  const auto position = static_cast<std::uint64_t>(sequence.state.position());
  check_size(
      ids.size() % sizeof(std::int32_t) == 0 && ids.size() / sizeof(std::int32_t) <= position,
      kHistory, ids.size());
  sequence.history = values_of<std::int32_t>(ids);
  for (const std::int32_t id : sequence.history) {
    check(id >= 0 && id < vocab, bad_data,
          "the saved sequence is damaged: it holds token id {}, outside the vocabulary [0, {})", id,
          vocab);
  }

  const std::string_view logits = take_section(reader, kLogits);
  check_size(logits.empty() ||
                 (position > 0 && logits.size() == sizeof(float) * static_cast<std::size_t>(vocab)),
             kLogits, logits.size());
  sequence.logits = values_of<float>(logits);
  check(std::ranges::all_of(sequence.logits, [](float x) { return std::isfinite(x); }), bad_data,
        "the saved sequence is damaged: its logits are NaN or infinite");

  const std::string_view random = take_section(reader, kRandom);
  if (!random.empty()) {
    check_size(random.size() == sizeof(std::uint64_t) + sizeof(RandomState), kRandom,
               random.size());
    ByteReader numbers(random, "");
    sequence.random.emplace(numbers.number<std::uint64_t>());
    const auto state = numbers.number<RandomState>();
    check(state != RandomState{}, bad_data,
          "the saved sequence is damaged: its random numbers are all 0");
    std::memcpy(static_cast<void*>(&sequence.random->rng), &state, sizeof state);
  }

  sequence.shown = take_section(reader, kText);
  check(reader.left().empty(), bad_data,
        "the saved sequence holds {} bytes that this version of krait does not know",
        reader.left().size());
}

}  // namespace

void Sequence::read(Executor& executor, std::span<const std::int32_t> ids) {
  if (ids.empty()) return;
  executor.check_ids(ids);
  logits.resize(static_cast<std::size_t>(executor.model().info().vocab_rows));
  try {
    executor.read(ids, state, LogitRows::last, logits.data());
  } catch (const Error&) {  // the logits are no numbers
    logits.clear();
    have_read(ids);
    throw;
  }
  have_read(ids);
}

void Sequence::have_read(std::span<const std::int32_t> ids) {
  history.insert(history.end(), ids.begin(), ids.end());
  if (!text) return;
  for (const std::int32_t id : ids) text->push(id);
  shown = text->pending();
}

std::string Sequence::show(std::int32_t id) {
  if (!text) return "";
  std::string more = text->push(id);
  const std::size_t known = std::min(shown.size(), more.size());
  if (std::string_view(shown).substr(0, known) == std::string_view(more).substr(0, known)) {
    more.erase(0, known);
    shown.erase(0, known);
  } else {
    shown.clear();  // bytes that turned out to be no character are shown once more
  }
  return more;
}

std::string Sequence::show_rest() {
  if (!text) return "";
  std::string rest = text->pending();
  std::string more = rest.starts_with(shown) ? rest.substr(shown.size()) : rest;
  shown = std::move(rest);
  return more;
}

std::string Sequence::show_end() {
  if (!text) return "";
  const std::string end = TextStream(*text).flush();
  std::string more = end.starts_with(shown) ? end.substr(shown.size()) : end;
  shown = text->pending();
  return more;
}

void Sequence::go_back(std::int64_t tokens) {
  state.rollback(tokens);
  if (tokens == 0) return;
  history.resize(history.size() - std::min(history.size(), static_cast<std::size_t>(tokens)));
  logits.clear();
  if (!text) return;
  text->flush();
  for (const std::int32_t id : history) text->push(id);
  shown = text->pending();
}

void Sequence::reset() {
  state.reset();
  history.clear();
  logits.clear();
  random.reset();
  shown.clear();
  if (text) text->flush();
}

std::string Sequence::save() const {
  std::string sections;
  append_section(sections, kHistory, bytes_of(history));
  append_section(sections, kLogits, bytes_of(logits));
  if (random) {
    std::string numbers;
    append(numbers, random->seed);
    append(numbers, random->rng);
    append_section(sections, kRandom, numbers);
  }
  append_section(sections, kText, shown);
  if (!sections.empty()) append(sections, fnv1a64(sections));
  return state.serialize() + sections;
}

Sequence new_sequence(std::shared_ptr<const StateLayout> layout, const Tokenizer* tokenizer) {
  Sequence sequence{SequenceState(std::move(layout))};
  if (tokenizer) sequence.text.emplace(*tokenizer);
  return sequence;
}

Sequence restore_sequence(std::string_view saved, std::shared_ptr<const StateLayout> layout,
                          std::int64_t vocab_rows, const Tokenizer* tokenizer) {
  std::string_view sections;
  Sequence sequence{SequenceState::deserialize(saved, std::move(layout), &sections)};
  if (!sections.empty()) read_sections(sections, vocab_rows, sequence);
  if (tokenizer) {
    sequence.text.emplace(*tokenizer);
    for (const std::int32_t id : sequence.history) sequence.text->push(id);
  }
  return sequence;
}

}  // namespace krait
