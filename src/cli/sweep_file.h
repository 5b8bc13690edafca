// The file that describes a sweep (docs/formats.md), and the results that it asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/json.h"

namespace krait::cli {

struct SweepFile {
  std::vector<std::string> models;   ///< directories
  std::vector<std::string> recipes;  ///< names or JSON files
  struct {
    std::string file;  ///< "": no divergence is measured
    std::int64_t seq_len = 2048, max_tokens = 0;
  } text;
  struct {
    std::vector<std::string> names;
    std::string data = ".";
    std::int64_t limit = 0;
  } tasks;
  struct {
    std::string file;  ///< "": the built-in text
    int samples = 512, seq_len = 512;
    std::uint64_t seed = 1234;
  } calibration;
  Json source;  ///< as read
};

/// Errors: not_found, io_error; bad_data naming file and key, with the choices; invalid_argument
/// for an unknown recipe or task.
SweepFile read_sweep_file(const std::string& path);
SweepFile parse_sweep(const Json& json, const std::string& where);

/// One result: a model under a recipe.
struct SweepCell {
  std::string name;  ///< "krait-demo~krait-w8a8": its file and directory
  std::string model, recipe;
  Json spec;  ///< everything that decides the result; equal ones are not computed twice
};

/// Models in the order of the file, each with all its recipes. Error: bad_data for two models whose
/// directories have the same name.
std::vector<SweepCell> cells_of(const SweepFile& sweep);

}  // namespace krait::cli
