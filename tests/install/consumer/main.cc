// Uses every public header: loads the model named on the command line, quantizes it, generates.
#include <krait/cancel.h>
#include <krait/engine.h>
#include <krait/error.h>
#include <krait/generate.h>
#include <krait/quantize.h>
#include <krait/session.h>
#include <krait/version.h>

#include <cstdio>
#include <string>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    krait::Engine::load(std::string(argv[1]) + "/missing");
    std::puts("a missing model was loaded");
    return 1;
  } catch (const krait::Error& error) {
    if (error.code() != krait::ErrorCode::not_found) return 1;
  }
  const krait::QuantizeReport report = krait::quantize(
      argv[1], argv[2], {.recipe = "krait-w8a8", .calibration = {}, .progress = {}});
  const krait::Engine engine = krait::Engine::load(argv[2], {.threads = 2});
  krait::Session session = engine.new_session();
  const krait::GenerateResult result =
      krait::generate(engine, session, "hello", {.max_tokens = 5, .ignore_eos = true});
  std::printf("krait %s: %s, %zu -> %zu bytes, generated %zu tokens\n", krait::version(),
              engine.description().c_str(), report.source_bytes, report.output_bytes,
              result.ids.size());
  if (result.ids.size() != 5 || session.position() <= 5) return 1;
  krait::Generation generation(engine, session, "", {.max_tokens = 3, .ignore_eos = true});
  int tokens = 0;
  while (generation.next()) ++tokens;
  return tokens == 3 && generation.result().finish_reason == krait::FinishReason::length ? 0 : 1;
}
