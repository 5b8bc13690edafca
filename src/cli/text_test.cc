#include <gtest/gtest.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "cli/units.h"

namespace krait::cli {
namespace {

TEST(Units, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(999.6), "1.00 kB");
  EXPECT_EQ(format_bytes(3.62e6), "3.62 MB");
  EXPECT_EQ(format_bytes(36.25e9), "36.2 GB");
  EXPECT_EQ(format_bytes(123.4e12), "123 TB");
  EXPECT_EQ(format_bytes(5e15), "5000 TB");
}

TEST(Units, CountsAndRates) {
  EXPECT_EQ(format_count(512), "512");
  EXPECT_EQ(format_count(3'600'000), "3.60M");
  EXPECT_EQ(format_rate(0.1234), "0.123");
  EXPECT_EQ(format_rate(9.996), "10.0");
  EXPECT_EQ(format_rate(99.96), "100");
  EXPECT_EQ(format_rate(12345.6), "12346");
}

TEST(Units, Durations) {
  EXPECT_EQ(format_duration(0.84), "0.8 s");
  EXPECT_EQ(format_duration(9.96), "10 s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(185), "3:05");
  EXPECT_EQ(format_duration(3723), "1:02:03");
}

TEST(Table, AlignsNumbersToTheRight) {
  Table table({"name", "value"});
  table.add({"a", "1"});
  table.add({"long name", "-"});
  table.add({"caf\u00e9", "+100"});
  EXPECT_EQ(table.str(),
            "name       value\n"
            "---------  -----\n"
            "a              1\n"
            "long name      -\n"
            "caf\u00e9        +100\n");
}

TEST(Table, WordsStayOnTheLeftAndLinesEndWithoutSpaces) {
  Table table({"n", "words"});
  table.add({"10", "one"});
  table.add({"9", "seventeen"});
  EXPECT_EQ(table.str(), " n  words\n--  ---------\n10  one\n 9  seventeen\n");
}

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
