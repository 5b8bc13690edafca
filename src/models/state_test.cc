#include "models/state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "krait/error.h"
#include "models/fingerprint.h"

namespace krait {
namespace {

std::shared_ptr<StateLayout> make_layout(std::string fingerprint = "0123456789abcdef") {
  auto layout = std::make_shared<StateLayout>();
  layout->add("conv_state", 0, DType::i8, {3, 5});
  layout->add("ssm_state", 0, DType::f32, {2, 5});
  layout->fingerprint = std::move(fingerprint);
  return layout;
}

SequenceState filled() {
  SequenceState state(make_layout());
  std::memset(state.buffer(0), 7, 15);
  static_cast<float*>(state.buffer(1))[9] = 2.5f;
  state.advance(42);
  return state;
}

ErrorCode error_of(std::string_view bytes, std::shared_ptr<const StateLayout> layout) {
  try {
    SequenceState::deserialize(bytes, std::move(layout));
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::io_error;
}

TEST(State, BuffersAreAlignedAndStartAtZero) {
  const SequenceState state(make_layout());
  EXPECT_EQ(state.bytes(), 128u);
  EXPECT_EQ(state.layout().buffers[1].offset, 64u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(state.buffer(1)) % 64, 0u);
  EXPECT_EQ(static_cast<const float*>(state.buffer(1))[9], 0.0f);
  EXPECT_EQ(state.position(), 0);
}

TEST(State, AStepReadsAndWritesABufferUnlessItIsSaidOtherwise) {
  StateLayout layout;
  layout.add("conv_state", 0, DType::i8, {3, 5});
  EXPECT_EQ(layout.step_bytes, 2 * 15);
  layout.add("ssm_state", 0, DType::f32, {2, 5}, 1.25);
  EXPECT_EQ(layout.step_bytes, 30 + 50);
}

TEST(State, CopiesAreIndependent) {
  SequenceState a = filled();
  SequenceState b = a;
  static_cast<float*>(b.buffer(1))[9] = 1.0f;
  b.advance(1);
  EXPECT_EQ(static_cast<const float*>(a.buffer(1))[9], 2.5f);
  EXPECT_EQ(a.position(), 42);
  a = b;
  EXPECT_EQ(a.position(), 43);
  a.reset();
  EXPECT_EQ(a.position(), 0);
  EXPECT_EQ(static_cast<const float*>(a.buffer(1))[9], 0.0f);
  EXPECT_EQ(static_cast<const float*>(b.buffer(1))[9], 1.0f);
}

TEST(State, SurvivesSerialization) {
  const SequenceState state = filled();
  const SequenceState back = SequenceState::deserialize(state.serialize(), make_layout());
  EXPECT_EQ(back.position(), 42);
  EXPECT_EQ(std::memcmp(back.buffer(0), state.buffer(0), state.bytes()), 0);
}

std::shared_ptr<StateLayout> make_growing_layout() {
  auto layout = make_layout();
  layout->add_per_token("k_cache", 0, DType::f16, {6});
  layout->add_per_token("v_cache", 0, DType::i8, {6});
  return layout;
}

/// `tokens` tokens one by one: k_cache's row t holds t, v_cache's t + 1.
void consume(SequenceState& state, int tokens) {
  for (int i = 0; i < tokens; ++i) {
    state.reserve(1);
    const auto t = static_cast<std::size_t>(state.position());
    std::fill_n(static_cast<std::uint16_t*>(state.buffer(2)) + 6 * t, 6, t);
    std::memset(static_cast<char*>(state.buffer(3)) + 6 * t, static_cast<int>(t + 1), 6);
    state.advance(1);
  }
}

void expect_rows(const SequenceState& state, std::int64_t tokens) {
  ASSERT_EQ(state.position(), tokens);
  EXPECT_EQ(state.bytes(), 128u + 18u * static_cast<std::size_t>(tokens));
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
    EXPECT_EQ(static_cast<const std::uint16_t*>(state.buffer(2))[6 * t + 5], t);
    EXPECT_EQ(static_cast<const std::int8_t*>(state.buffer(3))[6 * t + 5],
              static_cast<std::int8_t>(t + 1));
  }
}

TEST(State, RowsGrowWithTheTextAndAreCopied) {
  SequenceState state(make_growing_layout());
  EXPECT_EQ(state.bytes(), 128u);
  const SequenceState start = state;
  consume(state, 50);
  expect_rows(state, 50);
  SequenceState copy = state;
  consume(copy, 20);
  expect_rows(copy, 70);
  expect_rows(state, 50);
  std::memset(static_cast<char*>(copy.buffer(3)), 99, 6);
  EXPECT_EQ(*static_cast<const char*>(state.buffer(3)), 1);
  copy = start;
  expect_rows(copy, 0);
  state.reset();
  consume(state, 3);
  expect_rows(state, 3);
}

TEST(State, RowsSurviveSerialization) {
  SequenceState state(make_growing_layout());
  consume(state, 33);
  const std::string bytes = state.serialize();
  SequenceState back = SequenceState::deserialize(bytes, make_growing_layout());
  expect_rows(back, 33);
  consume(back, 40);
  expect_rows(back, 73);
  for (std::size_t n = 0; n < bytes.size(); n += 7) {
    EXPECT_EQ(error_of(bytes.substr(0, n), make_growing_layout()), ErrorCode::bad_data) << n;
  }
  const SequenceState empty = SequenceState::deserialize(
      SequenceState(make_growing_layout()).serialize(), make_growing_layout());
  expect_rows(empty, 0);
}

/// A saved state that says another position, with the checksum of what it says.
std::string at_position(std::string saved, std::int64_t position) {
  std::memcpy(saved.data() + 8 + 4 + 16, &position, sizeof position);
  const std::uint64_t sum = fnv1a64(std::string_view(saved).substr(0, saved.size() - 8));
  std::memcpy(saved.data() + saved.size() - 8, &sum, 8);
  return saved;
}

TEST(State, RefusesRowsThatDoNotFitThePosition) {
  SequenceState state(make_growing_layout());
  consume(state, 4);
  const std::string saved = state.serialize();
  for (const std::int64_t wrong : {0, 3, 5, 127, -4}) {
    EXPECT_EQ(error_of(at_position(saved, wrong), make_growing_layout()), ErrorCode::bad_data);
  }
}

TEST(State, RefusesAPositionBeforeTheStart) {
  const std::string saved = filled().serialize();  // whose size says nothing of its position
  EXPECT_EQ(SequenceState::deserialize(at_position(saved, 43), make_layout()).position(), 43);
  for (const std::int64_t wrong : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    EXPECT_EQ(error_of(at_position(saved, wrong), make_layout()), ErrorCode::bad_data);
  }
}

TEST(State, RefusesEveryTruncationAndEveryFlippedBit) {
  const std::string bytes = filled().serialize();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(error_of(bytes.substr(0, n), make_layout()), ErrorCode::bad_data) << n;
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_EQ(error_of(damaged, make_layout()), ErrorCode::bad_data) << i;
  }
  EXPECT_EQ(error_of(bytes + "x", make_layout()), ErrorCode::bad_data);
}

TEST(State, RefusesTheFirstVersionWithASentence) {
  std::string bytes = filled().serialize();
  bytes[7] = '1';
  try {
    SequenceState::deserialize(bytes, make_layout());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(
        std::string(error.what()).find("version 1 (KRSTATE1), which earlier versions of krait"),
        std::string::npos)
        << error.what();
  }
}

/// What the second version would have written of a state of the same buffers.
std::string as_second_version(std::string saved) {
  saved[7] = '2';
  const std::uint64_t sum = fnv1a64(std::string_view(saved).substr(0, saved.size() - 8));
  std::memcpy(saved.data() + saved.size() - 8, &sum, 8);
  return saved;
}

TEST(State, ReadsTheSecondVersion) {
  SequenceState state(make_growing_layout());
  consume(state, 33);
  std::memset(state.buffer(0), 7, 15);
  const std::string saved = state.serialize();
  const SequenceState back =
      SequenceState::deserialize(as_second_version(saved), make_growing_layout());
  EXPECT_EQ(back.serialize(), saved);
}

// A layout with buffers that the second version did not have, between and behind those it had.
TEST(State, ReadsTheSecondVersionOfFewerBuffersOnlyWhereTheyWereEmpty) {
  auto before = make_growing_layout(), now = std::make_shared<StateLayout>();
  for (const StateBuffer& buffer : before->buffers) {
    if (buffer.per_token) {
      now->add_per_token(buffer.name, buffer.layer, buffer.dtype, buffer.shape);
    } else {
      now->add(buffer.name, buffer.layer, buffer.dtype, buffer.shape);
      now->add("recent_" + buffer.name, 0, DType::f32, {3, 7});
      now->buffers.back().since = 3;
    }
  }
  now->fingerprint = before->fingerprint;
  SequenceState old(before);
  consume(old, 32);
  std::memset(old.buffer(0), 7, 15);
  static_cast<float*>(old.buffer(1))[9] = 2.5f;
  const SequenceState back = SequenceState::deserialize(as_second_version(old.serialize()), now);
  EXPECT_EQ(back.position(), 32);
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {  // each before a recent one
    EXPECT_EQ(std::memcmp(back.buffer(2 * i), old.buffer(i), row_bytes(before->buffers[i])), 0);
    const auto* recent = static_cast<const float*>(back.buffer(2 * i + 1));
    EXPECT_TRUE(std::all_of(recent, recent + 21, [](float x) { return x == 0; }));
  }
  for (const std::size_t i : {std::size_t{2}, std::size_t{3}}) {
    EXPECT_EQ(std::memcmp(back.buffer(i + 2), old.buffer(i), 32 * row_bytes(before->buffers[i])),
              0);
  }
  EXPECT_EQ(SequenceState::deserialize(back.serialize(), now).serialize(), back.serialize());
  EXPECT_EQ(error_of(old.serialize(), now), ErrorCode::bad_data);  // as the third: too short
  consume(old, 1);
  try {
    SequenceState::deserialize(as_second_version(old.serialize()), now);
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("version 2 (KRSTATE2) at position 33"), std::string::npos) << message;
    EXPECT_NE(message.find("multiple of 16"), std::string::npos) << message;
  }
}

TEST(State, HandsOutWhatFollowsIt) {
  const std::string saved = filled().serialize();
  std::string_view rest = "?";
  SequenceState::deserialize(saved, make_layout(), &rest);
  EXPECT_EQ(rest, "");
  SequenceState::deserialize(saved + "more", make_layout(), &rest);
  EXPECT_EQ(rest, "more");
  EXPECT_THROW(SequenceState::deserialize(as_second_version(saved) + "more", make_layout(), &rest),
               Error);
}

TEST(State, RefusesTheStateOfAnotherModel) {
  EXPECT_EQ(error_of(filled().serialize(), make_layout("fedcba9876543210")),
            ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace krait
