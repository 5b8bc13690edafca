#include <gtest/gtest.h>

#include "report/table.h"
#include "report/units.h"

namespace krait {
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

}  // namespace
}  // namespace krait
