#include "krait/engine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/check.h"
#include "core/memory.h"
#include "core/printable.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "krait/session.h"
#include "models/config.h"
#include "runtime/engine_access.h"

namespace krait {
namespace {

std::string numerics_name(const Json& config, const TensorSource& tensors,
                          const ModelLayout& layout) {
  const Json recipe = config.value("/quantization_config/krait/recipe/name"_json_pointer, Json());
  if (recipe.is_string()) return printable(recipe.get<std::string>(), 60);
  const std::string first = layout.linears.front().name + ".weight";
  if (!tensors.contains(first)) return "quantized";  // codes of a recipe without a name
  return std::string(name_of(tensors.get(first).dtype()));
}

std::string count_text(std::int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  if (count >= 1e9) return fmt::format("{:.1f}B", count / 1e9);
  return count >= 1e6 ? fmt::format("{:.1f}M", count / 1e6) : fmt::format("{:.1f}K", count / 1e3);
}

std::optional<bool> packs_experts(ExpertMemory wanted) {
  if (wanted != ExpertMemory::automatic) return wanted == ExpertMemory::packed;
  const char* const variable = std::getenv("KRAIT_EXPERTS");
  const std::string_view choice = variable ? variable : "";
  if (choice.empty()) return std::nullopt;
  check(choice == "packed" || choice == "mapped", ErrorCode::invalid_argument,
        "KRAIT_EXPERTS={} is not known; choices: packed, mapped", printable(choice, 64));
  return choice == "packed";
}

}  // namespace

LoadedModel::LoadedModel(EngineParts parts, int threads, Isa isa, const LoadOptions& options)
    : executor(parts.config, *parts.tensors, threads, isa, options),
      numerics(numerics_name(parts.config, *parts.tensors, executor.model().layout())),
      where(parts.tensors->where()) {
  const ModelInfo& info = executor.model().info();
  if (parts.tokenizer) tokenizer.emplace(std::move(*parts.tokenizer));
  vocab_size = info.vocab_size;
  if (tokenizer) vocab_size = std::min(vocab_size, tokenizer->vocab_size());
  eos_ids = eos_token_ids(parts.config, parts.generation_config, info.vocab_rows);
  for (const Json* json : {&parts.generation_config, &parts.config}) {
    if (!json->is_object() || bos_id) continue;
    const Json id = json->value("bos_token_id", Json());
    if (id.is_number_integer() && id >= 0 && id < info.vocab_rows) bos_id = id.get<std::int32_t>();
  }
}

const Tokenizer& LoadedModel::known_tokenizer() const {
  check(tokenizer.has_value(), ErrorCode::not_found,
        "there is no tokenizer.json beside {}, so that text cannot be encoded or decoded", where);
  return *tokenizer;
}

Engine make_engine(EngineParts parts, const EngineOptions& options, std::optional<Isa> isa) {
  check(options.threads >= 0, ErrorCode::invalid_argument,
        "the number of threads must not be negative, got {}", options.threads);
  const int threads = options.threads ? options.threads : hardware_threads();
  auto model = std::make_shared<LoadedModel>(std::move(parts), threads, isa ? *isa : select_isa(),
                                             LoadOptions{packs_experts(options.experts)});
  if (options.mlock) lock_memory();
  return EngineAccess::wrap(std::move(model));
}

EngineParts read_engine_parts(const std::string& directory, const std::string& tokenizer) {
  namespace fs = std::filesystem;
  Checkpoint checkpoint = open_checkpoint(directory);
  EngineParts parts{std::move(checkpoint.config), std::move(checkpoint.generation_config),
                    std::move(checkpoint.tensors), std::nullopt};
  fs::path file = tokenizer.empty() ? directory : tokenizer;
  if (fs::is_directory(file)) file /= "tokenizer.json";
  if (!tokenizer.empty() || fs::exists(file)) parts.tokenizer = Tokenizer::load(file.string());
  return parts;
}

Engine Engine::load(const std::string& directory, const EngineOptions& options) {
  return make_engine(read_engine_parts(directory), options);
}

Engine Engine::load_from_memory(const MemoryCheckpoint& checkpoint, const EngineOptions& options) {
  std::span<const std::byte> bytes = checkpoint.safetensors;
  std::shared_ptr<const void> owner = checkpoint.owner;
  if (!owner) {
    const std::shared_ptr<void> copy = allocate_aligned(bytes.size());
    if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
    bytes = {static_cast<const std::byte*>(copy.get()), bytes.size()};
    owner = copy;
  }
  EngineParts parts{parse_json(checkpoint.config, "config.json in memory"),
                    {},
                    parse_safetensors(bytes, std::move(owner), "safetensors in memory"),
                    std::nullopt};
  check(parts.config.is_object(), ErrorCode::bad_data,
        "config.json in memory is not a JSON object");
  if (!checkpoint.generation_config.empty()) {
    parts.generation_config =
        parse_json(checkpoint.generation_config, "generation_config.json in memory");
  }
  if (!checkpoint.tokenizer.empty()) {
    parts.tokenizer = Tokenizer::parse(checkpoint.tokenizer, "tokenizer.json in memory");
  }
  return make_engine(std::move(parts), options);
}

std::vector<std::int32_t> Engine::encode(std::string_view text, bool add_special) const {
  return model_->known_tokenizer().encode(text, add_special);
}

std::string Engine::decode(std::span<const std::int32_t> ids) const {
  return model_->known_tokenizer().decode(ids);
}

std::int64_t Engine::vocab_size() const { return model_->vocab_size; }
std::int64_t Engine::vocab_rows() const { return model_->executor.model().info().vocab_rows; }
std::span<const std::int32_t> Engine::eos_ids() const { return model_->eos_ids; }
std::optional<std::int32_t> Engine::bos_id() const { return model_->bos_id; }

std::optional<std::int32_t> Engine::token_id(std::string_view text) const {
  return model_->known_tokenizer().find(text);
}

std::string Engine::token_text(std::int32_t id) const {
  return model_->known_tokenizer().decode({&id, 1}, false);
}

int Engine::threads() const { return model_->executor.threads(); }

EngineInfo Engine::info() const {
  const Model& model = model_->executor.model();
  const ModelInfo& info = model.info();
  return {.family = info.model_type,
          .architecture = info.architecture,
          .recipe = model_->numerics,
          .isa = std::string(name_of(model_->executor.isa())),
          .threads = threads(),
          .parameters = info.parameters,
          .layers = info.n_layers,
          .d_model = info.d_model,
          .vocab_size = model_->vocab_size,
          .vocab_rows = info.vocab_rows,
          .weight_bytes = model.weight_bytes(),
          .state_bytes = model.state_layout()->bytes,
          .state_bytes_per_token = model.state_layout()->bytes_per_token};
}

std::string Engine::description() const {
  const EngineInfo known = info();
  return fmt::format("{} {} parameters, {}, {}, {} thread{}", known.family,
                     count_text(known.parameters), known.recipe, known.isa, known.threads,
                     known.threads == 1 ? "" : "s");
}

Session Engine::new_session() const { return Session(model_); }

Session Engine::restore(std::string_view bytes) const { return Session(model_, bytes); }

}  // namespace krait
