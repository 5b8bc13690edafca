#include "models/state.h"

#include <gtest/gtest.h>

#include <cstring>

#include "krait/error.h"

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

TEST(State, RefusesTheStateOfAnotherModel) {
  EXPECT_EQ(error_of(filled().serialize(), make_layout("fedcba9876543210")),
            ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace krait
