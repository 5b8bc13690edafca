// Continues a text with the likeliest tokens, as they come.
// cc generate.c -o generate $(pkg-config --cflags --libs krait)
#include <krait/krait.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char** argv) {
  krait_engine* engine = NULL;
  krait_session* session = NULL;
  krait_generation* generation = NULL;
  const krait_token* token = NULL;
  krait_generate_options options;
  krait_status status;
  if (argc != 3) return fputs("usage: generate MODEL TEXT\n", stderr), 2;
  krait_generate_options_init(&options, sizeof options);
  options.max_tokens = 40;
  options.temperature = 0;

  status = krait_engine_load(argv[1], NULL, &engine);
  if (!status) status = krait_session_new(engine, &session);
  if (!status) {
    status = krait_generation_new(session, argv[2], strlen(argv[2]), &options, &generation);
  }
  while (!status && !(status = krait_generation_next(generation, &token)) && token) {
    fwrite(token->text, 1, token->text_length, stdout);
    fflush(stdout);
  }
  if (status) {
    fprintf(stderr, "%s: %s\n", krait_status_name(status), krait_last_error());
  } else {
    puts("");
  }
  krait_generation_free(generation);  // NULL is nothing, and the order does not matter
  krait_session_free(session);
  krait_engine_free(engine);
  return status ? 1 : 0;
}
