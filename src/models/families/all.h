// The rows of the table in families.cc, each defined in the file of its name.
#pragma once

#include "models/families/families.h"

namespace krait {

extern const Family kMamba, kGptNeox, kJamba, kMamba2, kBamba;

}  // namespace krait
