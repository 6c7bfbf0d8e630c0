#include "cli/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "common/random.h"

namespace skein::cli {
namespace {

TEST(HistogramTest, IsEmptyAtFirst) {
  const auto histogram = std::make_unique<Histogram>();
  EXPECT_EQ(histogram->Percentile(99), 0u);
  EXPECT_EQ(histogram->max(), 0u);
  EXPECT_EQ(histogram->count(), 0u);
}

TEST(HistogramTest, SmallValuesAreExact) {
  const auto histogram = std::make_unique<Histogram>();
  for (uint64_t v = 1; v <= 100; ++v) histogram->Record(v);
  EXPECT_EQ(histogram->Percentile(50), 50u);
  EXPECT_EQ(histogram->Percentile(99), 99u);
  EXPECT_EQ(histogram->Percentile(100), 100u);
  EXPECT_DOUBLE_EQ(histogram->mean(), 50.5);
}

TEST(HistogramTest, PercentilesAreWithinOnePercentOfTheSortedValues) {
  Random random(7);
  const auto histogram = std::make_unique<Histogram>();
  std::vector<uint64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t value = random.Below(uint64_t{1} << random.Between(1, 30));
    values.push_back(value);
    histogram->Record(value);
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {1.0, 50.0, 95.0, 99.0, 99.9}) {
    const double exact = static_cast<double>(
        values[static_cast<size_t>(percent / 100 * static_cast<double>(values.size())) - 1]);
    const double got = static_cast<double>(histogram->Percentile(percent));
    EXPECT_GE(got, exact) << percent;
    EXPECT_LE(got, exact * 1.01 + 1) << percent;
  }
  EXPECT_EQ(histogram->max(), values.back());
  EXPECT_EQ(histogram->min(), values.front());
}

TEST(HistogramTest, MergingEqualsRecordingTogether) {
  const auto one = std::make_unique<Histogram>();
  const auto other = std::make_unique<Histogram>();
  const auto both = std::make_unique<Histogram>();
  for (uint64_t v = 0; v < 10'000; ++v) {
    (v % 3 == 0 ? one : other)->Record(v * v);
    both->Record(v * v);
  }
  one->Merge(*other);
  EXPECT_EQ(one->count(), both->count());
  EXPECT_EQ(one->max(), both->max());
  for (const double percent : {10.0, 50.0, 99.9}) {
    EXPECT_EQ(one->Percentile(percent), both->Percentile(percent));
  }
}

TEST(HistogramTest, HugeValuesDoNotOverflow) {
  const auto histogram = std::make_unique<Histogram>();
  histogram->Record(UINT64_MAX);
  histogram->Record(5);
  EXPECT_EQ(histogram->Percentile(99), UINT64_MAX);
  EXPECT_EQ(histogram->Percentile(50), 5u);
}

}  // namespace
}  // namespace skein::cli
