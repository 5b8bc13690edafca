#include "krait/engine.h"

#include "capi/guard.h"
#include "capi/handles.h"

namespace krait::capi {
namespace {

EngineOptions options_of(const krait_engine_options* from) {
  const krait_engine_options options = completed(from, {}, "krait_engine_options");
  const int experts = options.experts;
  check(experts >= KRAIT_EXPERTS_AUTOMATIC && experts <= KRAIT_EXPERTS_MAPPED,
        ErrorCode::invalid_argument,
        "krait_engine_options.experts is {}, expected one of KRAIT_EXPERTS_...", experts);
  return {.threads = options.threads,
          .mlock = options.mlock,
          .experts = static_cast<ExpertMemory>(experts)};
}
static_assert(KRAIT_EXPERTS_AUTOMATIC == static_cast<int>(ExpertMemory::automatic));
static_assert(KRAIT_EXPERTS_PACKED == static_cast<int>(ExpertMemory::packed));
static_assert(KRAIT_EXPERTS_MAPPED == static_cast<int>(ExpertMemory::mapped));

}  // namespace
}  // namespace krait::capi

using namespace krait::capi;

krait_engine::krait_engine(krait::Engine loaded)
    : engine(std::move(loaded)), known(engine.info()), description(engine.description()) {
  info = {.description = description.c_str(),
          .family = known.family.c_str(),
          .architecture = known.architecture.c_str(),
          .recipe = known.recipe.c_str(),
          .isa = known.isa.c_str(),
          .threads = known.threads,
          .bos_id = engine.bos_id().value_or(-1),
          .eos_ids = engine.eos_ids().data(),
          .eos_count = engine.eos_ids().size(),
          .parameters = known.parameters,
          .layers = known.layers,
          .d_model = known.d_model,
          .vocab_size = known.vocab_size,
          .vocab_rows = known.vocab_rows,
          .weight_bytes = known.weight_bytes,
          .state_bytes = known.state_bytes,
          .state_bytes_per_token = known.state_bytes_per_token};
}

krait_status krait_engine_load(const char* directory, const krait_engine_options* options,
                               krait_engine** engine) {
  return guarded([&] {
    cleared(engine, "engine");
    *engine =
        new krait_engine(krait::Engine::load(&given(directory, "directory"), options_of(options)));
  });
}

krait_status krait_engine_load_memory(const krait_checkpoint* checkpoint,
                                      const krait_engine_options* options, krait_engine** engine) {
  return guarded([&] {
    const krait_checkpoint files =
        completed(&given(checkpoint, "checkpoint"), {}, "krait_checkpoint");
    std::shared_ptr<void> owner;
    if (files.release) owner.reset(files.owner, files.release);
    cleared(engine, "engine");
    const auto tensors = list(static_cast<const std::byte*>(files.safetensors),
                              files.safetensors_bytes, "krait_checkpoint.safetensors");
    krait::MemoryCheckpoint parts{
        .config = text(files.config, files.config_length, "krait_checkpoint.config"),
        .safetensors = tensors,
        .tokenizer = text(files.tokenizer, files.tokenizer_length, "krait_checkpoint.tokenizer"),
        .generation_config = text(files.generation_config, files.generation_config_length,
                                  "krait_checkpoint.generation_config")};
    // By the address of the tensors, which is there even where `owner` is NULL.
    if (files.release) parts.owner = {std::move(owner), tensors.data()};
    *engine = new krait_engine(krait::Engine::load_from_memory(parts, options_of(options)));
  });
}

void krait_engine_free(krait_engine* engine) { delete engine; }

const krait_info* krait_engine_info(const krait_engine* engine) {
  return engine ? &engine->info : nullptr;
}

krait_status krait_encode(const krait_engine* engine, const char* text, size_t length,
                          bool add_special, int32_t** ids, size_t* count) {
  return guarded([&] {
    cleared(ids, "ids"), cleared(count, "count");
    hand_out(
        given(engine, "engine").engine.encode(krait::capi::text(text, length, "text"), add_special),
        ids, count);
  });
}

krait_status krait_decode(const krait_engine* engine, const int32_t* ids, size_t count, char** text,
                          size_t* length) {
  return guarded([&] {
    cleared(text, "text"), cleared(length, "length");
    hand_out(given(engine, "engine").engine.decode(list(ids, count, "ids")), text, length);
  });
}

krait_status krait_token_id(const krait_engine* engine, const char* text, size_t length,
                            int32_t* id) {
  return guarded([&] {
    given(id, "id") = -1;
    *id = given(engine, "engine")
              .engine.token_id(krait::capi::text(text, length, "text"))
              .value_or(-1);
  });
}

krait_status krait_token_text(const krait_engine* engine, int32_t id, char** text, size_t* length) {
  return guarded([&] {
    cleared(text, "text"), cleared(length, "length");
    hand_out(given(engine, "engine").engine.token_text(id), text, length);
  });
}
