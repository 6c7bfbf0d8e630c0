#include "common/random.h"

#include <set>

#include "gtest/gtest.h"

namespace skein {
namespace {

TEST(RandomTest, TheSameSeedGivesTheSameNumbers) {
  Random a(42);
  Random b(42);
  Random c(43);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t number = a.Next();
    EXPECT_EQ(number, b.Next());
    differs = differs || number != c.Next();
  }
  EXPECT_TRUE(differs);
}

TEST(RandomTest, BelowReachesAllOfItsRangeAndNothingElse) {
  Random random(1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

TEST(RandomTest, BetweenIncludesBothEnds) {
  Random random(1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Between(10, 12));
  EXPECT_EQ(seen, (std::set<uint64_t>{10, 11, 12}));
}

TEST(RandomTest, ChanceIsAboutRight) {
  Random random(5);
  int hits = 0;
  for (int i = 0; i < 10'000; ++i) hits += random.Chance(0.25);
  EXPECT_GT(hits, 2'200);
  EXPECT_LT(hits, 2'800);
  EXPECT_FALSE(random.Chance(0));
  EXPECT_TRUE(random.Chance(1));
}

TEST(RandomTest, AForkDoesNotDependOnDrawsFromItsOrigin) {
  Random a(9);
  const uint64_t early = a.Fork("network").Next();
  a.Next();
  EXPECT_EQ(a.Fork("network").Next(), early);
  EXPECT_NE(a.Fork("disk").Next(), early);
}

}  // namespace
}  // namespace skein
