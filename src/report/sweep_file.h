// The file that describes a sweep (docs/reference/formats.md), and the results that it asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/drift.h"
#include "eval/recall.h"
#include "io/json.h"

namespace krait {

struct SweepText {
  std::string name, file;
  std::int64_t seq_len = 2048, max_tokens = 0;
};

struct SweepFile {
  std::vector<std::string> models;   ///< directories
  std::vector<std::string> recipes;  ///< names or JSON files
  std::vector<SweepText> texts;      ///< what divergence is measured on; names are all different
  struct {
    std::vector<std::string> names;
    std::string data = ".";
    std::int64_t limit = 0;
  } tasks;
  struct {
    bool wanted = false;
    std::string file;  ///< "": the built-in text
    RecallOptions options;
  } recall;
  struct {
    bool wanted = false;
    std::string file;
    DriftOptions options;
  } drift;
  struct {
    bool wanted = false;
    std::string file;
    std::int64_t seq_len = 512, max_tokens = 4096;
  } sites;
  struct {
    bool wanted = false;
    int prefill = 512, decode = 128, repeats = 3;
  } speed;
  struct {
    std::string file;  ///< "": what the recipe says, else the built-in text
    int samples = 512, seq_len = 512;
    std::uint64_t seed = 1234;
  } calibration;
};

/// Errors: not_found, io_error; bad_data naming file and key, with the choices.
SweepFile read_sweep_file(const std::string& path);
SweepFile parse_sweep(const Json& json, const std::string& where);

/// One result: a model under a recipe.
struct SweepCell {
  std::string name;  ///< "krait-demo~krait-w8a8": its file and directory
  std::string model, recipe;
  Json recipe_source;
};

/// Models in the order of the file, each with all its recipes. Errors: bad_data for two models or
/// recipes of one name; as load_recipe().
std::vector<SweepCell> cells_of(const SweepFile& sweep);

/// The last part of a path, safe as a file name.
std::string file_name_of(const std::string& path);

/// What decides all results, with digests in place of paths: the same on every machine that has the
/// same files. Reads the files. Errors: not_found, io_error.
Json sweep_settings(const SweepFile& sweep);

}  // namespace krait
