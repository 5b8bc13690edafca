#pragma once

/// What the library offers to those who link it; everything else in it is hidden. Plain C.
#if defined(__GNUC__)
#define KRAIT_API __attribute__((visibility("default")))
#else
#define KRAIT_API
#endif
