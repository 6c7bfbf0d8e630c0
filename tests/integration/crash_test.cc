// What a cluster of real processes survives under load: every acknowledged write is read back from
// every node.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/integration/checked_load.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr size_t kSomeWrites = 500;

TEST(CheckedLoadTest, NoticesLostChangedAndImpossibleWrites) {
  WrittenRecord record;
  record.acknowledged = {{"a", 1}, {"b", 2}, {"c", 3}};
  record.refused = {{"d", "no leader"}};
  record.unknown = {{"e", "deadline"}};
  const Contents good = {
      {"a", {ValueFor("a"), 1}}, {"b", {ValueFor("b"), 2}}, {"c", {ValueFor("c"), 3}}};
  EXPECT_TRUE(Complaints(record, good).empty());
  Contents with_unknown = good;
  with_unknown["e"] = {ValueFor("e"), 4};
  EXPECT_TRUE(Complaints(record, with_unknown).empty());
  Contents bad = good;
  bad.erase("b");
  EXPECT_EQ(Complaints(record, bad).size(), 1U) << "lost";
  bad = good;
  bad["b"].first = "other";
  EXPECT_EQ(Complaints(record, bad).size(), 1U) << "changed";
  bad = good;
  bad["b"].second = 7;
  EXPECT_EQ(Complaints(record, bad).size(), 1U) << "applied twice";
  bad = good;
  bad["d"] = {ValueFor("d"), 5};
  EXPECT_EQ(Complaints(record, bad).size(), 1U) << "refused, yet there";
  bad = good;
  bad["x"] = {ValueFor("x"), 6};
  EXPECT_EQ(Complaints(record, bad).size(), 1U) << "from nowhere";
}

class CrashTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  ProcessCluster cluster_;
  int leader_ = -1;
};

TEST_F(CrashTest, KillOfTheLeaderLosesNothing) {
  CheckedLoad load(cluster_, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const auto killed_at = steady_clock::now();
  cluster_.Kill(leader_);
  ASSERT_TRUE(load.WaitForMore(64));  // more than can have been on their way
  std::printf(
      "writes flow again after %lld ms\n",
      static_cast<long long>(
          std::chrono::duration_cast<milliseconds>(steady_clock::now() - killed_at).count()));
  EXPECT_NE(cluster_.WaitForLeader(), leader_);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Start(leader_);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

TEST_F(CrashTest, KillOfAFollowerLosesNothing) {
  const int follower = cluster_.Others(leader_).front();
  CheckedLoad load(cluster_, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Kill(follower);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Start(follower);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
  EXPECT_TRUE(load.record().unknown.empty()) << load.record().unknown.begin()->second;
}

TEST_F(CrashTest, KillOfAllNodesLosesNothing) {
  CheckedLoad load(cluster_, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  for (const int node : cluster_.AllNodes()) cluster_.Kill(node);
  for (const int node : cluster_.AllNodes()) cluster_.Start(node);
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

// One after the other, each time whoever leads, while the last one is still catching up.
TEST_F(CrashTest, KillsInARowLoseNothing) {
  CheckedLoad load(cluster_, "load/");
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(load.WaitForMore(kSomeWrites / 4)) << "round " << round;
    const int leader = cluster_.WaitForLeader();
    ASSERT_GE(leader, 0) << "round " << round;
    cluster_.Kill(leader);
    cluster_.Start(leader);
  }
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

TEST_F(CrashTest, TheLeaderStopsOnRequestUnderLoadAndLosesNothing) {
  CheckedLoad load(cluster_, "load/", 16);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const std::optional<int> code = cluster_.Terminate(leader_, seconds(10));
  ASSERT_TRUE(code.has_value()) << "hangs";
  EXPECT_EQ(*code, 0);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Start(leader_);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

TEST_F(CrashTest, AFollowerThatWasDownCatchesUp) {
  constexpr int kWrites = 20'000;
  const int follower = cluster_.Others(leader_).back();
  cluster_.Kill(follower);
  const auto client = cluster_.NewClient();
  std::atomic<int> failed{0};
  std::vector<std::thread> writers;
  constexpr int kWriters = 64;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      for (int i = writer; i < kWrites; i += kWriters) {
        const std::string key = "many/" + std::to_string(i);
        if (!client->Put(key, ValueFor(key)).ok()) ++failed;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  ASSERT_EQ(failed, 0);
  const auto status = cluster_.StatusOf(leader_);
  ASSERT_TRUE(status.has_value());
  EXPECT_GE(status->applied_revision, static_cast<uint64_t>(kWrites));
  cluster_.Start(follower);
  ASSERT_TRUE(cluster_.WaitForApplied(client->token(), {follower}));
  const Contents contents = ContentsOf(cluster_.Address(follower), "many/", client->token());
  EXPECT_EQ(contents.size(), static_cast<size_t>(kWrites));
  EXPECT_TRUE(contents == ContentsOf(cluster_.Address(leader_), "many/", client->token()));
}

}  // namespace
}  // namespace skein
