// From a template's source to its tree.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_tree.h"

namespace krait::jinja {

/// Whatever the tree holds can be evaluated: statements, filters, tests, methods and functions that
/// are not there are found here. Errors: bad_data (not Jinja), unsupported; "WHERE:LINE: ...".
Body parse(std::string_view source, const std::string& where);

}  // namespace krait::jinja
