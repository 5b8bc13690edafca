// Errors, models, sessions and quantizing by C.
#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>

#include "capi/guard.h"
#include "capi/test_support.h"
#include "io/file.h"
#include "quant/test_support.h"

namespace krait::capi {
namespace {

const std::string kGolden = KRAIT_SOURCE_DIR "/tests/golden/mamba-f32-tied";

std::string take(char* text, std::size_t length) {
  EXPECT_EQ(text[length], '\0');
  std::string copy(text, length);
  krait_free(text);
  return copy;
}

std::vector<float> logits_of(const SessionHandle& session, std::size_t rows = 264) {
  const float* const logits = krait_session_logits(session.get());
  return logits ? std::vector<float>(logits, logits + rows) : std::vector<float>();
}

TEST(Capi, NamesItsVersionAndItsErrors) {
  EXPECT_EQ(krait_api_version(), KRAIT_API_VERSION);
  EXPECT_GE(std::count(krait_version(), krait_version() + std::strlen(krait_version()), '.'), 2);
  EXPECT_STREQ(krait_status_name(KRAIT_OK), "ok");
  EXPECT_STREQ(krait_status_name(KRAIT_INVALID_ARGUMENT), "invalid_argument");
  EXPECT_STREQ(krait_status_name(KRAIT_CANCELLED), "cancelled");
  EXPECT_STREQ(krait_status_name(KRAIT_INTERNAL), "internal");
}

TEST(Capi, TurnsEveryExceptionIntoAStatus) {
  const auto status_of = [](const std::function<void()>& run) { return guarded(run); };
  expect_failure(status_of([] { throw Error(ErrorCode::busy, "many wait"); }), KRAIT_BUSY,
                 "many wait");
  expect_failure(status_of([] { throw std::bad_alloc(); }), KRAIT_OUT_OF_MEMORY, "memory");
  expect_failure(status_of([] { throw std::length_error("too long"); }), KRAIT_INTERNAL,
                 "too long");
  expect_failure(status_of([] { throw 1; }), KRAIT_INTERNAL, "says nothing");
  EXPECT_EQ(status_of([] {}), KRAIT_OK);
  EXPECT_NE(std::string(krait_last_error()).find("says nothing"), std::string::npos);
}

TEST(Capi, RefusesNull) {
  const EngineHandle made = byte_engine_handle();
  const SessionHandle session = new_session(made);
  krait_engine* engine = made.get();
  krait_session* out = session.get();
  krait_generation* generation = nullptr;
  krait_results* results = nullptr;
  const krait_token* token = nullptr;
  std::int32_t* ids = nullptr;
  std::int32_t id = 0;
  char* text = nullptr;
  void* bytes = nullptr;
  std::size_t count = 3;
  krait_session* const sessions[] = {nullptr};
  const krait_request request{nullptr, "x", 1, nullptr};
  const std::function<krait_status()> calls[] = {
      [&] { return krait_engine_load(nullptr, nullptr, &engine); },
      [&] { return krait_engine_load("x", nullptr, nullptr); },
      [&] { return krait_engine_load_memory(nullptr, nullptr, &engine); },
      [&] { return krait_encode(nullptr, "x", 1, true, &ids, &count); },
      [&] { return krait_encode(made.get(), nullptr, 1, true, &ids, &count); },
      [&] { return krait_encode(made.get(), "x", 1, true, nullptr, &count); },
      [&] { return krait_encode(made.get(), "x", 1, true, &ids, nullptr); },
      [&] { return krait_decode(nullptr, &id, 1, &text, &count); },
      [&] { return krait_decode(made.get(), nullptr, 1, &text, &count); },
      [&] { return krait_decode(made.get(), &id, 1, nullptr, &count); },
      [&] { return krait_token_id(nullptr, "x", 1, &id); },
      [&] { return krait_token_id(made.get(), nullptr, 1, &id); },
      [&] { return krait_token_id(made.get(), "x", 1, nullptr); },
      [&] { return krait_token_text(nullptr, 1, &text, &count); },
      [&] { return krait_token_text(made.get(), 1, nullptr, &count); },
      [&] { return krait_session_new(nullptr, &out); },
      [&] { return krait_session_new(made.get(), nullptr); },
      [&] { return krait_session_copy(nullptr, &out); },
      [&] { return krait_session_copy(session.get(), nullptr); },
      [&] { return krait_session_save(nullptr, &bytes, &count); },
      [&] { return krait_session_save(session.get(), nullptr, &count); },
      [&] { return krait_session_restore(nullptr, "x", 1, &out); },
      [&] { return krait_session_restore(made.get(), nullptr, 1, &out); },
      [&] { return krait_session_restore(made.get(), "x", 1, nullptr); },
      [&] { return krait_session_reset(nullptr); },
      [&] { return krait_session_keep_history(nullptr, 1); },
      [&] { return krait_session_rollback(nullptr, 1); },
      [&] { return krait_session_prefill(nullptr, &id, 1); },
      [&] { return krait_session_prefill(session.get(), nullptr, 1); },
      [&] { return krait_sessions_decode(nullptr, &id, 1); },
      [&] { return krait_sessions_decode(sessions, &id, 1); },
      [&] { return krait_generate_options_init(nullptr, sizeof(krait_generate_options)); },
      [&] { return krait_generation_new(nullptr, "x", 1, nullptr, &generation); },
      [&] { return krait_generation_new(session.get(), nullptr, 1, nullptr, &generation); },
      [&] { return krait_generation_new(session.get(), "x", 1, nullptr, nullptr); },
      [&] { return krait_generation_next(nullptr, &token); },
      [&] { return krait_generation_cancel(nullptr); },
      [&] { return krait_generate(nullptr, 1, nullptr, nullptr, &results); },
      [&] { return krait_generate(&request, 1, nullptr, nullptr, &results); },
      [&] { return krait_generate(&request, 1, nullptr, nullptr, nullptr); },
      [&] { return krait_cancel_new(nullptr); },
      [&] { return krait_quantize_options_init(nullptr, sizeof(krait_quantize_options)); },
      [&] { return krait_quantize(nullptr, "x", nullptr, nullptr); },
      [&] { return krait_quantize("x", nullptr, nullptr, nullptr); },
  };
  for (std::size_t i = 0; i < std::size(calls); ++i) {
    SCOPED_TRACE(i);
    expect_failure(calls[i](), KRAIT_INVALID_ARGUMENT, " is NULL");
  }
  EXPECT_EQ(engine, nullptr);
  EXPECT_EQ(out, nullptr);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(krait_engine_info(nullptr), nullptr);
  EXPECT_EQ(krait_session_logits(nullptr), nullptr);
  EXPECT_EQ(krait_session_position(nullptr), 0);
  EXPECT_EQ(krait_generation_result(nullptr), nullptr);
  EXPECT_EQ(krait_results_at(nullptr, 0), nullptr);
  krait_cancel_ask(nullptr);
  krait_engine_free(nullptr), krait_session_free(nullptr), krait_generation_free(nullptr);
  krait_results_free(nullptr), krait_cancel_free(nullptr), krait_free(nullptr);
}

TEST(Capi, KeepsAnErrorForEachThread) {
  krait_engine* engine = nullptr;
  expect_failure(krait_engine_load("/nowhere/at/all", nullptr, &engine), KRAIT_NOT_FOUND,
                 "/nowhere/at/all");
  std::thread([] {
    EXPECT_STREQ(krait_last_error(), "");
    expect_failure(krait_session_reset(nullptr), KRAIT_INVALID_ARGUMENT, "NULL");
  }).join();
  EXPECT_NE(std::string(krait_last_error()).find("/nowhere/at/all"), std::string::npos);
}

TEST(Capi, TakesOptionsOfEarlierHeaders) {
  krait_generate_options options;
  std::memset(&options, 0x55, sizeof options);
  const std::size_t shorter = offsetof(krait_generate_options, top_p);
  expect_ok(krait_generate_options_init(&options, shorter));
  EXPECT_EQ(options.size, shorter);
  EXPECT_EQ(options.max_tokens, GenerateOptions().max_tokens);
  EXPECT_EQ(std::memcmp(&options.top_p, "\x55\x55\x55\x55", 4), 0);  // not the caller's
  options.max_tokens = 2;

  // What lies behind is not looked at: stop_count of it would crash.
  const EngineHandle engine = byte_engine_handle();
  const SessionHandle session = new_session(engine);
  krait_generation* made = nullptr;
  expect_ok(krait_generation_new(session.get(), "x", 1, &options, &made));
  const GenerationHandle generation(made);
  const krait_token* token = nullptr;
  expect_ok(krait_generation_next(made, &token));
  ASSERT_NE(token, nullptr);

  for (const std::size_t size : {std::size_t{0}, sizeof options + 8}) {
    options.size = size;
    krait_generation* refused = nullptr;
    expect_failure(krait_generation_new(session.get(), "x", 1, &options, &refused),
                   KRAIT_INVALID_ARGUMENT, "krait_generate_options is");
    EXPECT_EQ(refused, nullptr);
    expect_failure(krait_generate_options_init(&options, size), KRAIT_INVALID_ARGUMENT, "bytes");
  }
}

TEST(Capi, LoadsAndTellsWhatItIs) {
  const krait_engine_options options{sizeof options, 2, KRAIT_EXPERTS_AUTOMATIC, false};
  krait_engine* made = nullptr;
  expect_ok(krait_engine_load(kGolden.c_str(), &options, &made));
  const EngineHandle engine(made);
  const krait_info* const info = krait_engine_info(made);
  const EngineInfo expected = Engine::load(kGolden, {.threads = 2}).info();
  EXPECT_EQ(info->family, expected.family);
  EXPECT_EQ(info->architecture, expected.architecture);
  EXPECT_EQ(info->recipe, expected.recipe);
  EXPECT_EQ(info->isa, expected.isa);
  EXPECT_EQ(std::string(info->description).find("mamba "), 0u);
  EXPECT_EQ(info->threads, 2);
  EXPECT_EQ(info->bos_id, 0);
  ASSERT_EQ(info->eos_count, 1u);
  EXPECT_EQ(info->eos_ids[0], 0);
  EXPECT_EQ(info->parameters, expected.parameters);
  EXPECT_EQ(info->layers, expected.layers);
  EXPECT_EQ(info->d_model, expected.d_model);
  EXPECT_EQ(info->vocab_size, 67);
  EXPECT_EQ(info->vocab_rows, 67);
  EXPECT_EQ(info->weight_bytes, expected.weight_bytes);
  EXPECT_EQ(info->state_bytes, expected.state_bytes);
  EXPECT_EQ(info->state_bytes_per_token, expected.state_bytes_per_token);
  EXPECT_EQ(krait_engine_info(byte_engine_handle().get())->bos_id, -1);

  std::int32_t* ids = nullptr;
  std::size_t count = 0;
  expect_failure(krait_encode(made, "x", 1, true, &ids, &count), KRAIT_NOT_FOUND, "tokenizer.json");
  EXPECT_EQ(ids, nullptr);
  krait_engine_options bad = options;
  bad.experts = 3;
  krait_engine* refused = nullptr;
  expect_failure(krait_engine_load(kGolden.c_str(), &bad, &refused), KRAIT_INVALID_ARGUMENT,
                 "experts");
}

TEST(Capi, LoadsFilesThatAreInMemory) {
  const std::string config = read_file(kGolden + "/config.json");
  std::string tensors = read_file(kGolden + "/model.safetensors");
  const std::string tokenizer = byte_tokenizer_json();
  int released = 0;
  krait_checkpoint files{.size = sizeof files,
                         .config = config.data(),
                         .config_length = config.size(),
                         .safetensors = tensors.data(),
                         .safetensors_bytes = tensors.size(),
                         .tokenizer = tokenizer.data(),
                         .tokenizer_length = tokenizer.size(),
                         .generation_config = nullptr,
                         .generation_config_length = 0,
                         .release = [](void* owner) { ++*static_cast<int*>(owner); },
                         .owner = &released};
  krait_engine* made = nullptr;
  expect_ok(krait_engine_load_memory(&files, nullptr, &made));
  EngineHandle borrowing(made);
  SessionHandle session = new_session(borrowing);
  const std::int32_t ids[] = {1, 2, 3};
  expect_ok(krait_session_prefill(session.get(), ids, 3));
  const std::vector<float> expected = logits_of(session, 67);
  borrowing.reset();
  EXPECT_EQ(released, 0);  // the session goes on
  session.reset();
  EXPECT_EQ(released, 1);

  files.release = nullptr;
  expect_ok(krait_engine_load_memory(&files, nullptr, &made));
  const EngineHandle copying(made);
  tensors.assign(tensors.size(), 'x');  // nobody looks any more
  session = new_session(copying);
  expect_ok(krait_session_prefill(session.get(), ids, 3));
  EXPECT_EQ(logits_of(session, 67), expected);

  files.release = [](void* owner) { ++*static_cast<int*>(owner); };
  expect_failure(krait_engine_load_memory(&files, nullptr, &made), KRAIT_BAD_DATA, "in memory");
  EXPECT_EQ(made, nullptr);
  EXPECT_EQ(released, 2);
  files.size = 0;
  expect_failure(krait_engine_load_memory(&files, nullptr, &made), KRAIT_INVALID_ARGUMENT, "size");
}

TEST(Capi, EncodesAndDecodes) {
  const EngineHandle engine = byte_engine_handle();
  const std::string text("a\xc3\xa9\0z", 5);
  std::int32_t* ids = nullptr;
  std::size_t count = 0, length = 0;
  expect_ok(krait_encode(engine.get(), text.data(), text.size(), true, &ids, &count));
  ASSERT_EQ(count, 5u);
  EXPECT_EQ(ids[0], 'a');
  char* decoded = nullptr;
  expect_ok(krait_decode(engine.get(), ids, count, &decoded, &length));
  krait_free(ids);
  EXPECT_EQ(take(decoded, length), text);
  expect_ok(krait_encode(engine.get(), nullptr, 0, true, &ids, &count));
  EXPECT_EQ(count, 0u);
  EXPECT_NE(ids, nullptr);
  krait_free(ids);

  std::int32_t id = 0;
  expect_ok(krait_token_id(engine.get(), "<|endoftext|>", 13, &id));
  EXPECT_EQ(id, kTestEos);
  expect_ok(krait_token_text(engine.get(), id, &decoded, &length));
  EXPECT_EQ(take(decoded, length), "<|endoftext|>");
  expect_ok(krait_token_id(engine.get(), "<|im_end|>", 10, &id));
  EXPECT_EQ(id, -1);
}

TEST(Capi, SessionsAreValues) {
  const EngineHandle engine = byte_engine_handle();
  const SessionHandle session = new_session(engine);
  EXPECT_EQ(krait_session_logits(session.get()), nullptr);
  const std::int32_t ids[] = {'a', 'b', 'c', 'd'};
  expect_ok(krait_session_prefill(session.get(), ids, 2));
  EXPECT_EQ(krait_session_position(session.get()), 2);

  krait_session *copied = nullptr, *restored = nullptr;
  expect_ok(krait_session_copy(session.get(), &copied));
  const SessionHandle copy(copied);
  void* bytes = nullptr;
  std::size_t count = 0;
  expect_ok(krait_session_save(session.get(), &bytes, &count));
  expect_ok(krait_session_restore(engine.get(), bytes, count, &restored));
  const SessionHandle later(restored);
  krait_session* damaged = nullptr;
  expect_failure(krait_session_restore(engine.get(), bytes, count / 2, &damaged), KRAIT_BAD_DATA,
                 "state");
  krait_free(bytes);
  EXPECT_EQ(logits_of(later), logits_of(session));

  // One after the other, and two in one pass.
  expect_ok(krait_session_prefill(session.get(), ids + 2, 2));
  krait_session* const both[] = {copied, restored};
  for (const std::int32_t id : {'c', 'd'}) {
    const std::int32_t same[] = {id, id};
    expect_ok(krait_sessions_decode(both, same, 2));
  }
  EXPECT_EQ(logits_of(copy), logits_of(session));
  EXPECT_EQ(logits_of(later), logits_of(session));
  EXPECT_EQ(krait_session_position(copied), 4);

  krait_session* const twice[] = {copied, copied};
  expect_failure(krait_sessions_decode(twice, ids, 2), KRAIT_INVALID_ARGUMENT, "twice");
  const std::int32_t outside = 264;
  expect_failure(krait_session_prefill(copied, &outside, 1), KRAIT_INVALID_ARGUMENT, "264");
  expect_ok(krait_session_reset(copied));
  EXPECT_EQ(krait_session_position(copied), 0);
  EXPECT_EQ(krait_session_logits(copied), nullptr);
}

TEST(Capi, SessionsGoBack) {
  const EngineHandle engine = byte_engine_handle();
  const SessionHandle session = new_session(engine), plain = new_session(engine);
  const std::int32_t ids[] = {'a', 'b', 'c', 'd'};
  expect_failure(krait_session_keep_history(session.get(), -1), KRAIT_INVALID_ARGUMENT, "-1");
  expect_ok(krait_session_keep_history(session.get(), 2));
  expect_ok(krait_session_prefill(session.get(), ids, 4));
  expect_ok(krait_session_rollback(session.get(), 2));
  EXPECT_EQ(krait_session_position(session.get()), 2);
  EXPECT_EQ(krait_session_logits(session.get()), nullptr);
  expect_failure(krait_session_rollback(session.get(), 1), KRAIT_INVALID_ARGUMENT, "at most 0");
  const std::int32_t other[] = {'a', 'b', 'x'};
  expect_ok(krait_session_prefill(session.get(), other + 2, 1));
  expect_ok(krait_session_prefill(plain.get(), other, 3));
  EXPECT_EQ(logits_of(session), logits_of(plain));
}

TEST(Capi, Quantizes) {
  const QuantizeFixture fixture;
  const std::string model = fixture.directory / "model", output = fixture.directory / "out";
  const std::string tokens = fixture.directory / "tokens.bin";
  krait_quantize_options options;
  expect_ok(krait_quantize_options_init(&options, sizeof options));
  EXPECT_EQ(options.recipe, QuantizeOptions().recipe);
  EXPECT_EQ(options.seed, QuantizeOptions().seed);
  options.recipe = "quamba-w8a8";
  options.calibration = tokens.c_str();
  options.samples = 5;
  options.seq_len = 33;
  options.threads = 1;
  const CancelHandle cancel = new_cancel();
  options.cancel = cancel.get();
  std::vector<std::string> phases;
  options.user = &phases;
  options.progress = [](void* user, const krait_progress* progress) {
    EXPECT_LE(progress->done, progress->total);
    EXPECT_NE(std::string(progress->unit), "");
    static_cast<std::vector<std::string>*>(user)->emplace_back(progress->phase);
  };
  krait_quantize_report report{};
  expect_failure(krait_quantize(model.c_str(), output.c_str(), &options, &report),
                 KRAIT_INVALID_ARGUMENT, "krait_quantize_report is 0 bytes");
  report.size = sizeof report;
  expect_ok(krait_quantize(model.c_str(), output.c_str(), &options, &report));
  EXPECT_FALSE(phases.empty());
  EXPECT_EQ(report.calibration_samples, 5);
  EXPECT_EQ(report.calibration_tokens, 5 * 33);
  EXPECT_GT(report.source_bytes, report.output_bytes);
  EXPECT_GT(report.bits_per_weight, 8);
  krait_engine* engine = nullptr;
  expect_ok(krait_engine_load(output.c_str(), nullptr, &engine));
  EXPECT_STREQ(krait_engine_info(engine)->recipe, options.recipe);
  krait_engine_free(engine);

  const std::string other = fixture.directory / "other";
  options.recipe = "krait-w9a9";
  expect_failure(krait_quantize(model.c_str(), other.c_str(), &options, nullptr), KRAIT_NOT_FOUND,
                 "krait-w9a9");
  options.recipe = "quamba-w8a8";
  krait_cancel_ask(cancel.get());
  expect_failure(krait_quantize(model.c_str(), other.c_str(), &options, nullptr), KRAIT_CANCELLED,
                 "cancel");
  EXPECT_FALSE(std::filesystem::exists(other));
}

TEST(Capi, NamesTheRecipes) {
  std::vector<std::string> names;
  while (const char* name = krait_recipe_name(names.size())) names.emplace_back(name);
  EXPECT_EQ(names, recipe_names());
}

}  // namespace
}  // namespace krait::capi
