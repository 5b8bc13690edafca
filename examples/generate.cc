// Continues a text with the likeliest tokens, as they come.
// c++ -std=c++20 generate.cc -o generate $(pkg-config --cflags --libs krait)
#include <krait/error.h>
#include <krait/generate.h>

#include <cstdio>

int main(int argc, char** argv) try {
  if (argc != 3) return std::fputs("usage: generate MODEL TEXT\n", stderr), 2;
  const krait::Engine engine = krait::Engine::load(argv[1]);
  krait::Session session = engine.new_session();
  const auto show = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0;  // false would end it
  };
  krait::generate(engine, session, argv[2], {.max_tokens = 40, .temperature = 0}, show);
  std::puts("");
  return 0;
} catch (const krait::Error& error) {
  std::fprintf(stderr, "%s: %s\n", krait::name_of(error.code()), error.what());
  return 1;
}
