#include "runtime/stop_filter.h"

#include <gtest/gtest.h>

namespace krait {
namespace {

TEST(StopFilter, ShowsTextAtOnceWithoutStops) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopFilter, HoldsBackWhatMayBecomeAStop) {
  StopFilter filter({"END", "\n\n"});
  EXPECT_EQ(filter.push("a E"), "a ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("T\n"), "ENT");
  EXPECT_EQ(filter.push("b"), "\nb");
  EXPECT_EQ(filter.push("cEN"), "c");
  EXPECT_FALSE(filter.stopped());
  EXPECT_EQ(filter.flush(), "EN");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopFilter, StopsBeforeAStopThatCameInPieces) {
  StopFilter filter({"stop"});
  EXPECT_EQ(filter.push("ssto"), "s");
  EXPECT_EQ(filter.push("ping"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopFilter, TheFirstStopInTheTextWins) {
  StopFilter filter({"late", "a"});
  EXPECT_EQ(filter.push("x a late"), "x ");
  EXPECT_TRUE(filter.stopped());
}

// Every text over two letters, cut in every way into two pieces, against a plain search.
TEST(StopFilter, AgreesWithASearchInTheWholeText) {
  for (const std::string stop : {"aab", "aba", "aa", "b"}) {
    for (int code = 0; code < 256; ++code) {
      std::string text;
      for (int bit = 0; bit < 8; ++bit) text += (code >> bit) & 1 ? 'a' : 'b';
      const std::string expected = text.substr(0, text.find(stop));
      for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        StopFilter filter({stop});
        std::string shown = filter.push(text.substr(0, cut));
        shown += filter.push(text.substr(cut));
        shown += filter.flush();
        EXPECT_EQ(shown, expected) << text << " cut at " << cut << ", stop " << stop;
      }
    }
  }
}

}  // namespace
}  // namespace krait
