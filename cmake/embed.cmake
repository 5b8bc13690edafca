# Puts recipes/**/*.json and share/calibration.txt into the library (src/quant/embedded.h). The assembler
# includes the files as they are, so that a megabyte of text costs no compile time. Symbols are hidden, or
# AArch64 would look them up in a table of addresses that has one entry for all of them.
file(GLOB embedded_recipes CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/recipes/*.json)
file(GLOB embedded_more CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/recipes/*/*.json)
list(APPEND embedded_recipes ${embedded_more})
set(embedded_text ${PROJECT_SOURCE_DIR}/share/calibration.txt)

function(krait_embed symbol file out)
  set(${out} "${${out}}asm(\".section .rodata\\n\"
    \"${symbol}_begin:\\n.incbin \\\"${file}\\\"\\n${symbol}_end:\\n.byte 0\\n\"
    \".previous\\n\");
extern \"C\" [[gnu::visibility(\"hidden\")]] const char ${symbol}_begin[], ${symbol}_end[];
" PARENT_SCOPE)
endfunction()

set(embedded_data "")
set(embedded_rows "")
set(embedded_count 0)
foreach(file IN LISTS embedded_recipes)
  get_filename_component(name ${file} NAME_WLE)
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR}/recipes ${file})
  get_filename_component(folder ${folder} DIRECTORY)
  krait_embed(krait_recipe_${embedded_count} ${file} embedded_data)
  string(APPEND embedded_rows
    "    {\"${name}\", \"${folder}\", text(krait_recipe_${embedded_count}_begin, krait_recipe_${embedded_count}_end)},\n")
  math(EXPR embedded_count "${embedded_count} + 1")
endforeach()
krait_embed(krait_calibration ${embedded_text} embedded_data)

file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/embedded.cc CONTENT [[
// Made by cmake/embed.cmake.
#include "quant/embedded.h"

#include <cstddef>

@embedded_data@
namespace krait {
namespace {

std::string_view text(const char* begin, const char* end) {
  return {begin, static_cast<std::size_t>(end - begin)};
}

const EmbeddedRecipe recipes[] = {
@embedded_rows@};

}  // namespace

std::span<const EmbeddedRecipe> embedded_recipes() noexcept { return recipes; }
std::string_view embedded_calibration_text() noexcept {
  return text(krait_calibration_begin, krait_calibration_end);
}

}  // namespace krait
]] @ONLY)
set_source_files_properties(${PROJECT_BINARY_DIR}/generated/embedded.cc PROPERTIES
  OBJECT_DEPENDS "${embedded_recipes};${embedded_text}")
target_sources(krait_quant_objects PRIVATE ${PROJECT_BINARY_DIR}/generated/embedded.cc)
