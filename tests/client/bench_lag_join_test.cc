#include "cli/bench_lag_join.h"

#include <gtest/gtest.h>

namespace skein::cli {
namespace {

// Two revisions an entry: entry 1 holds revisions 1 and 2.
EntryStages Entry(uint64_t index, uint64_t appended_us, uint64_t durable_us, uint64_t applied_us) {
  EntryStages entry;
  entry.index = index;
  entry.first_revision = 2 * index - 1;
  entry.last_revision = 2 * index;
  entry.bytes = 100;
  entry.appended_us = appended_us;
  entry.durable_us = durable_us;
  entry.committed_us = applied_us;
  entry.applied_us = applied_us;
  return entry;
}

std::vector<EntryLag> Join(const TraceBook& leader, const TraceBook& follower, JoinResult* result) {
  std::vector<EntryLag> lags;
  *result = JoinTraces(leader, follower, 0, 1'000'000,
                       [&lags](const EntryLag& lag) { lags.push_back(lag); });
  return lags;
}

TEST(TraceBookTest, AsksAgainFromTheFirstEntryThatIsNotThrough) {
  TraceBook book(0);
  book.Add({Entry(1, 10, 20, 30), Entry(2, 11, 21, 0), Entry(3, 12, 22, 32)});
  EXPECT_EQ(book.after_revision(), 2u);
  book.Add({Entry(2, 11, 21, 31), Entry(3, 12, 22, 32), Entry(4, 13, 0, 0)});
  EXPECT_EQ(book.after_revision(), 6u);
  EXPECT_EQ(book.entries().size(), 4u);
  EXPECT_EQ(book.entries().at(2).applied_us, 31u) << "the later answer knows more";
  EXPECT_EQ(book.gaps(), 0u);
}

TEST(TraceBookTest, CountsWhatWasForgottenBeforeItWasFetched) {
  TraceBook book(2);
  book.Add({Entry(2, 10, 20, 30)});
  EXPECT_EQ(book.gaps(), 0u) << "nothing below the start was wanted";
  book.Add({Entry(5, 13, 23, 33)});
  EXPECT_EQ(book.gaps(), 1u);
}

TEST(TraceBookTest, ATruncatedTailIsForgotten) {
  TraceBook book(0);
  book.Add({Entry(1, 10, 20, 30), Entry(2, 11, 0, 0), Entry(3, 12, 0, 0)});
  EntryStages other = Entry(2, 50, 60, 70);
  other.last_revision = 3;
  book.Add({other});
  EXPECT_EQ(book.entries().size(), 2u);
  EXPECT_EQ(book.FindRevision(3)->appended_us, 50u);
  EXPECT_EQ(book.FindRevision(5), nullptr);
}

TEST(TraceBookTest, FindsTheEntryOfARevision) {
  TraceBook book(0);
  EntryStages no_op = Entry(3, 12, 22, 32);
  no_op.first_revision = 5;
  no_op.last_revision = 4;
  book.Add({Entry(1, 10, 20, 30), Entry(2, 11, 21, 31), no_op});
  EXPECT_EQ(book.FindRevision(1)->index, 1u);
  EXPECT_EQ(book.FindRevision(4)->index, 2u);
  EXPECT_EQ(book.FindRevision(5), nullptr) << "a no-op holds no revision";
  EXPECT_EQ(book.FindRevision(0), nullptr);
}

TEST(JoinTracesTest, LagIsFromTheLeadersAppendToTheFollowersStages) {
  TraceBook leader(0);
  TraceBook follower(0);
  leader.Add({Entry(1, 100, 150, 400)});
  follower.Add({Entry(1, 130, 300, 450)});
  JoinResult result;
  const std::vector<EntryLag> lags = Join(leader, follower, &result);
  ASSERT_EQ(lags.size(), 1u);
  EXPECT_EQ(lags[0].appended_us, 100u);
  EXPECT_EQ(lags[0].revisions, 2u);
  EXPECT_EQ(lags[0].lag_us[0], 30u);
  EXPECT_EQ(lags[0].lag_us[1], 200u);
  EXPECT_EQ(lags[0].lag_us[2], 350u);
  EXPECT_EQ(result.joined, 1u);
  EXPECT_EQ(result.missing, 0u);
}

TEST(JoinTracesTest, EntriesThatTheFollowerDoesNotHaveAreMissing) {
  TraceBook leader(0);
  TraceBook follower(0);
  leader.Add({Entry(1, 100, 150, 400), Entry(2, 110, 160, 410), Entry(3, 120, 170, 420)});
  EntryStages different = Entry(2, 140, 240, 340);
  different.last_revision = 3;
  follower.Add({Entry(1, 130, 300, 450), different, Entry(3, 150, 250, 0)});
  JoinResult result;
  EXPECT_EQ(Join(leader, follower, &result).size(), 1u);
  EXPECT_EQ(result.joined, 1u);
  EXPECT_EQ(result.missing, 2u) << "another entry at that index, and one that is not applied";
}

TEST(JoinTracesTest, OnlyTheWindowCounts) {
  TraceBook leader(0);
  leader.Add({Entry(1, 100, 150, 160), Entry(2, 200, 250, 260), Entry(3, 300, 350, 360)});
  std::vector<uint64_t> appended;
  const JoinResult result = JoinTraces(leader, leader, 200, 300, [&appended](const EntryLag& lag) {
    appended.push_back(lag.appended_us);
  });
  EXPECT_EQ(appended, std::vector<uint64_t>{200});
  EXPECT_EQ(result.missing, 0u);
}

TEST(VersionTimelineTest, AWriteIsVisibleFromTheFirstReadOfItOrANewerOne) {
  VersionTimeline timeline;
  timeline.Saw(5, 100);
  timeline.Saw(5, 110);
  timeline.Saw(9, 120);
  EXPECT_EQ(timeline.newest(), 9u);
  EXPECT_EQ(timeline.FirstAtLeast(5), 100u);
  EXPECT_EQ(timeline.FirstAtLeast(7), 120u);
  EXPECT_EQ(timeline.FirstAtLeast(10), std::nullopt);
}

TEST(LagSlicesTest, SummarizesEachSliceByItself) {
  LagSlices slices(1000, 100);
  slices.Record(900, 77);  // before the begin
  for (const uint64_t lag : {30u, 10u, 20u}) slices.Record(1050, lag);
  slices.Record(1210, 5);
  const std::vector<LagSlices::Slice> summary = slices.Summary();
  ASSERT_EQ(summary.size(), 2u);
  EXPECT_EQ(summary[0].count, 3u);
  EXPECT_EQ(summary[0].p50_us, 20u);
  EXPECT_EQ(summary[0].max_us, 30u);
  EXPECT_DOUBLE_EQ(summary[1].seconds, 250e-6);
  EXPECT_EQ(summary[1].max_us, 5u);
}

}  // namespace
}  // namespace skein::cli
