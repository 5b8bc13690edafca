// What stands behind an Engine, for the parts of krait that need more than the public API:
// evaluation, reports and the command line.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "krait/engine.h"
#include "krait/session.h"
#include "runtime/executor.h"
#include "tokenizer/tokenizer.h"

namespace krait {

/// Everything that an engine is made of, wherever it comes from.
struct EngineParts {
  Json config;
  Json generation_config;
  std::shared_ptr<const TensorSource> tensors;
  std::optional<Tokenizer> tokenizer;
};

/// Those of a Hugging Face directory. `tokenizer`: the file of one instead of the directory's own,
/// or a directory that has one. Errors: Error.
EngineParts read_engine_parts(const std::string& directory, const std::string& tokenizer = "");

/// `isa`: instead of the best one of this CPU. Errors: Error, as of load_model().
Engine make_engine(EngineParts parts, const EngineOptions& options = {},
                   std::optional<Isa> isa = std::nullopt);

/// Immutable but for the executor, which guards itself.
struct LoadedModel {
  LoadedModel(EngineParts parts, int threads, Isa isa, const LoadOptions& options);
  /// Errors: not_found if there is none.
  const Tokenizer& known_tokenizer() const;

  Executor executor;
  std::string numerics;  // "F32", or of a quantized checkpoint the name of its recipe
  std::string where;     // the tensors' files, for messages
  std::optional<const Tokenizer> tokenizer;
  std::vector<std::int32_t> eos_ids;
  std::optional<std::int32_t> bos_id;
  std::int64_t vocab_size = 0;  // ids at or above are padding
};

struct EngineAccess {
  static Engine wrap(std::shared_ptr<LoadedModel> model) { return Engine(std::move(model)); }
  static const std::shared_ptr<LoadedModel>& model(const Engine& engine) { return engine.model_; }
};

struct SessionAccess {
  static const std::shared_ptr<LoadedModel>& model(const Session& session) {
    return session.model_;
  }
  static Sequence& sequence(Session& session) { return *session.sequence_; }
};

inline Executor& executor_of(const Engine& engine) { return EngineAccess::model(engine)->executor; }
inline const Model& model_of(const Engine& engine) { return executor_of(engine).model(); }

}  // namespace krait
