#pragma once

// krait for C11, and for all that can call C. The same as the headers for C++, whose comments tell
// more: engine.h, session.h, generate.h, quantize.h.
//
// Errors: a function that can fail returns a krait_status; KRAIT_OK is 0, and krait_last_error()
// has the sentence of any other. What it was to hand out is NULL or 0 then. NULL is refused with
// KRAIT_INVALID_ARGUMENT but where it is said to mean something, or where nothing is to be read.
//
// Ownership: each krait_X_new, _load, _copy and _restore hands out what krait_X_free takes back;
// text, ids and bytes that are handed out as T** go back with krait_free(). All of these take NULL,
// in any order: what still uses a thing keeps it alive. `const` pointers that are returned belong
// to krait, and live as is said there.
//
// Threads: any may use a krait_engine or a krait_cancel at any time, and quantize; a krait_session
// with its krait_generation is used by one thread at a time, and only by the generation until that
// has ended. Forward passes of one engine take turns.
//
// Text is UTF-8 and given with its length in bytes; text that is handed out has a zero after it,
// which is not counted. Names and paths end with a zero.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "krait/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Rises when something is added; what is there stays as it is.
#define KRAIT_API_VERSION 1

KRAIT_API int krait_api_version(void);      ///< KRAIT_API_VERSION of the library that is linked
KRAIT_API const char* krait_version(void);  ///< "major.minor.patch" of it

/// As ErrorCode in error.h.
typedef enum krait_status {
  KRAIT_OK = 0,
  KRAIT_INVALID_ARGUMENT = 1,
  KRAIT_NOT_FOUND = 2,
  KRAIT_BAD_DATA = 3,
  KRAIT_UNSUPPORTED = 4,
  KRAIT_IO_ERROR = 5,
  KRAIT_CANCELLED = 6,
  KRAIT_OUT_OF_MEMORY = 7,
  KRAIT_BUSY = 8,
  KRAIT_INTERNAL = 9
} krait_status;

/// "ok", "invalid_argument", ...
KRAIT_API const char* krait_status_name(krait_status status);
/// One sentence: what, where, expected, got. Of the call that failed last in this thread, until the
/// next one fails; "" before.
KRAIT_API const char* krait_last_error(void);
/// For text, ids and bytes that were handed out.
KRAIT_API void krait_free(void* memory);

typedef struct krait_engine krait_engine;          ///< a loaded model with its tokenizer
typedef struct krait_session krait_session;        ///< one conversation: a state
typedef struct krait_generation krait_generation;  ///< a session that is being written on
typedef struct krait_results krait_results;        ///< what came of krait_generate()
typedef struct krait_cancel krait_cancel;          ///< asks what runs long to stop

// Options and reports grow: `size` says which version of the struct the caller has. Give
// sizeof(struct) to the function that sets the defaults, or write it into `size`.

// --- Stopping ---

KRAIT_API krait_status krait_cancel_new(krait_cancel** cancel);
/// From any thread, whenever: what was given `cancel` ends at the next safe place.
KRAIT_API void krait_cancel_ask(const krait_cancel* cancel);
KRAIT_API void krait_cancel_free(krait_cancel* cancel);

// --- Models ---

enum { KRAIT_EXPERTS_AUTOMATIC = 0, KRAIT_EXPERTS_PACKED = 1, KRAIT_EXPERTS_MAPPED = 2 };

/// As EngineOptions.
typedef struct krait_engine_options {
  size_t size;
  int32_t threads;  ///< 0: all that this process may use
  int32_t experts;  ///< KRAIT_EXPERTS_...
  bool mlock;
} krait_engine_options;

/// A checkpoint whose files are in memory; NULL and 0 for those that there are not.
typedef struct krait_checkpoint {
  size_t size;
  const char* config;  ///< config.json
  size_t config_length;
  const void* safetensors;  ///< model.safetensors
  size_t safetensors_bytes;
  const char* tokenizer;  ///< tokenizer.json
  size_t tokenizer_length;
  const char* generation_config;  ///< generation_config.json
  size_t generation_config_length;
  /// NULL: the tensors are copied. Otherwise they are used where they lie, until release(owner) is
  /// called: once, in any thread, when the last user is gone or loading has failed.
  void (*release)(void* owner);
  void* owner;
} krait_checkpoint;

/// As EngineInfo.
typedef struct krait_info {
  const char* description;  ///< "mamba 3.6M parameters, quamba-w8a8, avx512_vnni, 2 threads"
  const char* family;
  const char* architecture;
  const char* recipe;
  const char* isa;
  int32_t threads;
  int32_t bos_id;  ///< -1: there is none
  const int32_t* eos_ids;
  size_t eos_count;
  int64_t parameters;
  int64_t layers;
  int64_t d_model;
  int64_t vocab_size;  ///< ids at or above are padding and never sampled
  int64_t vocab_rows;  ///< length of a row of logits
  size_t weight_bytes;
  size_t state_bytes;
  size_t state_bytes_per_token;
} krait_info;

/// A Hugging Face directory, float or quantized by krait. `options` NULL: the defaults.
KRAIT_API krait_status krait_engine_load(const char* directory, const krait_engine_options* options,
                                         krait_engine** engine);
KRAIT_API krait_status krait_engine_load_memory(const krait_checkpoint* checkpoint,
                                                const krait_engine_options* options,
                                                krait_engine** engine);
KRAIT_API void krait_engine_free(krait_engine* engine);
/// Lives as long as `engine` is not freed; NULL for NULL.
KRAIT_API const krait_info* krait_engine_info(const krait_engine* engine);

/// Text to token ids and back; add_special: with the tokens that begin a text. Errors: not_found
/// without a tokenizer.
KRAIT_API krait_status krait_encode(const krait_engine* engine, const char* text, size_t length,
                                    bool add_special, int32_t** ids, size_t* count);
KRAIT_API krait_status krait_decode(const krait_engine* engine, const int32_t* ids, size_t count,
                                    char** text, size_t* length);
/// The token that is written so, special ones too; -1 if there is none.
KRAIT_API krait_status krait_token_id(const krait_engine* engine, const char* text, size_t length,
                                      int32_t* id);
/// What a token says on its own, special ones too.
KRAIT_API krait_status krait_token_text(const krait_engine* engine, int32_t id, char** text,
                                        size_t* length);

// --- Sessions ---

KRAIT_API krait_status krait_session_new(const krait_engine* engine, krait_session** session);
/// A fork: both go on from here.
KRAIT_API krait_status krait_session_copy(const krait_session* session, krait_session** copy);
/// All that the next token follows from, and a session of it, by the same model.
KRAIT_API krait_status krait_session_save(const krait_session* session, void** bytes,
                                          size_t* count);
KRAIT_API krait_status krait_session_restore(const krait_engine* engine, const void* bytes,
                                             size_t count, krait_session** session);
KRAIT_API krait_status krait_session_reset(krait_session* session);
/// From now on krait_session_rollback() can take back up to `tokens` tokens, for as many times the
/// memory of the state. 0: none.
KRAIT_API krait_status krait_session_keep_history(krait_session* session, int64_t tokens);
/// Exactly the session before the last `tokens` tokens, but its random numbers. Errors:
/// invalid_argument for more than it keeps.
KRAIT_API krait_status krait_session_rollback(krait_session* session, int64_t tokens);
KRAIT_API void krait_session_free(krait_session* session);

/// Consumes tokens. Errors: invalid_argument for an id outside [0, vocab_rows); bad_data for logits
/// that are NaN or infinite, once the tokens are consumed.
KRAIT_API krait_status krait_session_prefill(krait_session* session, const int32_t* ids,
                                             size_t count);
/// ids[i] into sessions[i], all in one pass over the weights. Errors: invalid_argument for sessions
/// of different engines and one that is there twice.
KRAIT_API krait_status krait_sessions_decode(krait_session* const* sessions, const int32_t* ids,
                                             size_t count);
/// vocab_rows of them, after the last consumed token, until the session consumes another; NULL at
/// the start of a sequence and after going back.
KRAIT_API const float* krait_session_logits(const krait_session* session);
KRAIT_API int64_t krait_session_position(const krait_session* session);  ///< tokens consumed

// --- Generating ---

/// As GenerateOptions.
typedef struct krait_generate_options {
  size_t size;
  int32_t max_tokens;
  float temperature;  ///< 0 takes the likeliest
  int32_t top_k;
  float top_p;
  float min_p;
  float repeat_penalty;
  int32_t repeat_last_n;
  int32_t logprobs;  ///< -1: none; n: of every token and of the n likeliest beside it
  bool ignore_eos;
  bool has_seed;  ///< false: the session's random numbers go on, or begin by chance
  uint64_t seed;
  const char* const* stop;  ///< texts before which generation ends
  size_t stop_count;
  const krait_cancel* cancel;  ///< may be NULL, and freed while it is in use
} krait_generate_options;

typedef enum krait_finish {
  KRAIT_FINISH_RUNNING = 0,
  KRAIT_FINISH_STOP = 1,
  KRAIT_FINISH_LENGTH = 2,
  KRAIT_FINISH_CANCELLED = 3
} krait_finish;

typedef struct krait_token_logprob {
  int32_t id;
  double logprob;  ///< ln of the model's own probability
} krait_token_logprob;

/// As Token: `text` is what may be shown now, complete characters or nothing.
typedef struct krait_token {
  const char* text;
  size_t text_length;
  int32_t id;
  double logprob;
  const krait_token_logprob* top;
  size_t top_count;
} krait_token;

/// As GenerateResult.
typedef struct krait_result {
  const char* text;
  size_t text_length;
  const int32_t* ids;
  size_t id_count;
  krait_finish finish;
  int64_t prompt_tokens;
  uint64_t seed;
  double prefill_seconds;
  double decode_seconds;
} krait_result;

KRAIT_API krait_status krait_generate_options_init(krait_generate_options* options, size_t size);

/// Begins to continue `session` with a prompt; without one, where it ended. `options` NULL: the
/// defaults; they are copied.
KRAIT_API krait_status krait_generation_new(krait_session* session, const char* prompt,
                                            size_t length, const krait_generate_options* options,
                                            krait_generation** generation);
/// The next token, which lives until the next call; NULL: it has ended. Errors: bad_data for logits
/// that are NaN or infinite.
KRAIT_API krait_status krait_generation_next(krait_generation* generation,
                                             const krait_token** token);
/// Ends after the token that was given out last.
KRAIT_API krait_status krait_generation_cancel(krait_generation* generation);
/// So far; lives until the next call with this generation. NULL for NULL.
KRAIT_API const krait_result* krait_generation_result(krait_generation* generation);
/// Cancels what has not ended.
KRAIT_API void krait_generation_free(krait_generation* generation);

/// One of several texts that are continued together.
typedef struct krait_request {
  krait_session* session;  ///< each its own, of the same engine
  const char* prompt;
  size_t prompt_length;
  const krait_generate_options* options;  ///< NULL: the defaults
} krait_request;

/// false ends request i.
typedef bool (*krait_token_fn)(void* user, size_t i, const krait_token* token);

/// All to their ends, in the same forward passes: each gets the tokens that it would have had
/// alone. `on_token` may be NULL.
KRAIT_API krait_status krait_generate(const krait_request* requests, size_t count,
                                      krait_token_fn on_token, void* user, krait_results** results);
/// Of request i; lives until krait_results_free(). NULL past the end.
KRAIT_API const krait_result* krait_results_at(const krait_results* results, size_t i);
KRAIT_API void krait_results_free(krait_results* results);

// --- Quantizing ---

typedef struct krait_progress {
  const char* phase;  ///< "calibrate", "quantize", ...
  int64_t done;
  int64_t total;
  const char* unit;  ///< "samples", "tensors", "tokens"
} krait_progress;

/// As QuantizeOptions.
typedef struct krait_quantize_options {
  size_t size;
  const char* recipe;       ///< a name or the path of a JSON file
  const char* calibration;  ///< "": what the recipe says, else the text that ships with krait
  int32_t samples;
  int32_t seq_len;
  int32_t threads;
  bool overwrite;
  uint64_t seed;
  /// May be NULL; called in the thread that quantizes.
  void (*progress)(void* user, const krait_progress* progress);
  void* user;
  const krait_cancel* cancel;  ///< may be NULL
} krait_quantize_options;

/// As QuantizeReport.
typedef struct krait_quantize_report {
  size_t size;
  size_t source_bytes;
  size_t output_bytes;
  double bits_per_weight;
  int64_t calibration_samples;
  int64_t calibration_tokens;
} krait_quantize_report;

KRAIT_API krait_status krait_quantize_options_init(krait_quantize_options* options, size_t size);
/// Reads the checkpoint at `model`, writes a quantized directory to `output`: all of it or nothing.
/// `options` NULL: the defaults; `report` may be NULL.
KRAIT_API krait_status krait_quantize(const char* model, const char* output,
                                      const krait_quantize_options* options,
                                      krait_quantize_report* report);
/// Of those that ship with krait, one after the other; NULL past the end.
KRAIT_API const char* krait_recipe_name(size_t index);

#ifdef __cplusplus
}
#endif
