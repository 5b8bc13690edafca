#include "cli/progress.h"

#include <gtest/gtest.h>

namespace krait::cli {
namespace {

TEST(Progress, LineWithBarRateAndTimeLeft) {
  const Progress half{.phase = "calibrate", .done = 256, .total = 512, .unit = "samples"};
  EXPECT_EQ(progress_line(half, 20.0, true),
            "calibrate [############            ] 256/512 samples, 12.8 samples/s, 20 s left");
  EXPECT_EQ(progress_line(half, 20.0, false),
            "calibrate 256/512 samples, 12.8 samples/s, 20 s left");
}

TEST(Progress, UnknownTotalAndOverrun) {
  EXPECT_EQ(progress_line({.phase = "read", .done = 10, .total = 0, .unit = "lines"}, 1.0, true),
            "read 10 lines, 10.0 lines/s");
  EXPECT_EQ(progress_line({.phase = "read", .done = 12, .total = 10, .unit = "lines"}, 1.0, false),
            "read 10/10 lines, 10.0 lines/s");
  EXPECT_EQ(progress_line({.phase = "read", .done = 0, .total = 10, .unit = "lines"}, 0.0, false),
            "read 0/10 lines");
}

TEST(Progress, ShortPhasesSayNothing) {
  testing::internal::CaptureStderr();
  {
    ProgressReport report(false);
    for (int i = 0; i <= 10; ++i) {
      report.update({.phase = "short", .done = i, .total = 10, .unit = "steps"});
    }
    report.finish();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace krait::cli
