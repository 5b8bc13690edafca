#include "krait/engine.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <optional>

#include "core/check.h"
#include "core/printable.h"
#include "io/checkpoint.h"
#include "models/config.h"
#include "runtime/engine_impl.h"

namespace krait {
namespace {

std::string numerics_name(const Json& config, const TensorSource& tensors,
                          const ModelLayout& layout) {
  const Json recipe = config.value("/quantization_config/krait/recipe/name"_json_pointer, Json());
  if (recipe.is_string()) return printable(recipe.get<std::string>(), 60);
  return std::string(name_of(tensors.get(layout.linears.front().name + ".weight").dtype()));
}

std::string count_text(std::int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  if (count >= 1e9) return fmt::format("{:.1f}B", count / 1e9);
  return count >= 1e6 ? fmt::format("{:.1f}M", count / 1e6) : fmt::format("{:.1f}K", count / 1e3);
}

const Tokenizer& tokenizer_of(const Engine::Impl& impl) {
  check(impl.tokenizer.has_value(), ErrorCode::not_found,
        "there is no tokenizer.json beside {}, so that text cannot be encoded or decoded",
        impl.where);
  return *impl.tokenizer;
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

Engine::Impl::Impl(EngineParts parts, int thread_count, Isa wanted_isa, const LoadOptions& options)
    : isa(wanted_isa),
      threads(thread_count),
      context{threads, microkernels(isa), arena},
      model(load_model(context, parts.config, *parts.tensors, options)),
      numerics(numerics_name(parts.config, *parts.tensors, model->layout())),
      where(parts.tensors->where()) {
  if (parts.tokenizer) tokenizer.emplace(std::move(*parts.tokenizer));
  vocab_size = model->info().vocab_size;
  if (tokenizer) vocab_size = std::min(vocab_size, tokenizer->vocab_size());
  eos_ids = eos_token_ids(parts.config, parts.generation_config, model->info().vocab_rows);
}

void Engine::Impl::check_ids(std::span<const std::int32_t> ids) const {
  const std::int64_t rows = model->info().vocab_rows;
  const auto bad =
      std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) { return id < 0 || id >= rows; });
  if (bad != ids.end()) {
    fail(ErrorCode::invalid_argument,
         "token id {} at position {} is outside the vocabulary [0, {})", *bad, bad - ids.begin(),
         rows);
  }
}

void Engine::Impl::prefill(std::span<const std::int32_t> ids, SequenceState& state, LogitRows rows,
                           float* logits) {
  const std::lock_guard lock(mutex);
  SequenceState* states[] = {&state};
  while (!ids.empty()) {
    const std::size_t count = std::min(ids.size(), static_cast<std::size_t>(kPrefillChunk));
    const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(count)};
    const bool last = count == ids.size();
    model->forward(context, {ids.first(count), cu_seqlens, states}, last ? rows : LogitRows::none,
                   logits);
    ids = ids.subspan(count);
  }
}

void Engine::Impl::decode(std::span<const std::int32_t> ids, std::span<SequenceState* const> states,
                          float* logits) {
  const std::lock_guard lock(mutex);
  std::vector<std::int32_t> cu_seqlens(states.size() + 1);
  std::iota(cu_seqlens.begin(), cu_seqlens.end(), 0);
  model->forward(context, {ids, cu_seqlens, states}, LogitRows::last, logits);
}

Engine make_engine(EngineParts parts, const EngineOptions& options, std::optional<Isa> isa) {
  check(options.threads >= 0, ErrorCode::invalid_argument,
        "the number of threads must not be negative, got {}", options.threads);
  const int threads = options.threads ? options.threads : hardware_threads();
  auto impl = std::make_shared<Engine::Impl>(std::move(parts), threads, isa ? *isa : select_isa(),
                                             LoadOptions{packs_experts(options.experts)});
  if (options.mlock) lock_memory();
  return Engine::Impl::wrap(std::move(impl));
}

std::int64_t logits_chunk(const Engine& engine) {
  constexpr std::int64_t kElements = std::int64_t{8} << 20;
  return std::clamp<std::int64_t>(kElements / engine.vocab_rows(), 1, kPrefillChunk);
}

void forward_logits(const Engine& engine, std::span<const std::int32_t> ids, SequenceState& state,
                    const LogitsFn& on_rows) {
  Engine::Impl& impl = *engine.impl();
  impl.check_ids(ids);
  const std::int64_t chunk = logits_chunk(engine), vocab = engine.vocab_rows();
  const auto total = static_cast<std::int64_t>(ids.size());
  std::vector<float> logits(static_cast<std::size_t>(std::min(chunk, total) * vocab));
  SequenceState* states[] = {&state};
  for (std::int64_t first = 0; first < total; first += chunk) {
    const std::int64_t rows = std::min(chunk, total - first);
    const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(rows)};
    {
      const std::lock_guard lock(impl.mutex);
      impl.model->forward(
          impl.context,
          {ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)), cu_seqlens,
           states},
          LogitRows::all, logits.data());
    }
    on_rows(first, rows, logits.data());
  }
}

Engine Engine::load(const std::string& directory, const EngineOptions& options) {
  Checkpoint checkpoint = open_checkpoint(directory);
  EngineParts parts{std::move(checkpoint.config), std::move(checkpoint.generation_config),
                    std::move(checkpoint.tensors), std::nullopt};
  const std::filesystem::path tokenizer = std::filesystem::path(directory) / "tokenizer.json";
  if (std::filesystem::exists(tokenizer)) parts.tokenizer = Tokenizer::load(tokenizer.string());
  return make_engine(std::move(parts), options);
}

std::vector<std::int32_t> Engine::encode(std::string_view text, bool add_special) const {
  return tokenizer_of(*impl_).encode(text, add_special);
}

std::string Engine::decode(std::span<const std::int32_t> ids) const {
  return tokenizer_of(*impl_).decode(ids);
}

std::int64_t Engine::vocab_size() const { return impl_->vocab_size; }
std::int64_t Engine::vocab_rows() const { return impl_->model->info().vocab_rows; }
std::span<const std::int32_t> Engine::eos_ids() const { return impl_->eos_ids; }
int Engine::threads() const { return impl_->threads.threads(); }

std::string Engine::description() const {
  const ModelInfo& info = impl_->model->info();
  return fmt::format("{} {} parameters, {}, {}, {} thread{}", info.model_type,
                     count_text(info.parameters), impl_->numerics, name_of(impl_->isa), threads(),
                     threads() == 1 ? "" : "s");
}

Session Engine::new_session() const {
  auto session = std::make_unique<Session::Impl>();
  session->engine = impl_;
  session->state = SequenceState(impl_->model->state_layout());
  return Session(std::move(session));
}

Session Engine::restore(std::string_view bytes) const {
  auto session = std::make_unique<Session::Impl>();
  session->engine = impl_;
  session->state = SequenceState::deserialize(bytes, impl_->model->state_layout());
  return Session(std::move(session));
}

}  // namespace krait
