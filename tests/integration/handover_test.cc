// Nodes that stop on request, and leadership that is handed over, as clients see it.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/integration/checked_load.h"
#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr size_t kSomeWrites = 200;

// Reads all the while, of every consistency; counts those that fail.
class ReadLoad {
 public:
  explicit ReadLoad(const ProcessCluster& cluster, int readers = 6) : client_(cluster.NewClient()) {
    // On all nodes, so that a read of any consistency finds it.
    EXPECT_TRUE(client_->Put("read", "1", {.ack = Ack::kAll}).ok());
    for (int reader = 0; reader < readers; ++reader) {
      readers_.emplace_back([this, reader] { Read(reader); });
    }
  }
  ~ReadLoad() { Stop(); }

  void Stop() {
    stopping_ = true;
    for (std::thread& reader : readers_) {
      if (reader.joinable()) reader.join();
    }
  }
  size_t reads() const { return reads_; }
  std::string failure() const {
    MutexLock lock(&mu_);
    return failure_;
  }

 private:
  void Read(int reader) {
    ReadOptions options;
    if (reader % 3 == 0) options.consistency = Consistency::kLinearizable;
    if (reader % 3 == 1) options.consistency = Consistency::kAny;
    while (!stopping_) {
      const auto got = client_->Get("read", options);
      ++reads_;
      if (got.ok() && got->has_value()) continue;
      MutexLock lock(&mu_);
      failure_ = got.ok() ? "not found" : got.status().ToString();
    }
  }

  const std::unique_ptr<Client> client_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> reads_{0};
  mutable Mutex mu_;
  std::string failure_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> readers_;
};

class HandoverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }
  static void ExpectNoFailure(const CheckedLoad& load) {
    const WrittenRecord& record = load.record();
    EXPECT_TRUE(record.refused.empty()) << record.refused.begin()->second;
    EXPECT_TRUE(record.unknown.empty()) << record.unknown.begin()->second;
  }

  ProcessCluster cluster_;
  int leader_ = -1;
};

TEST_F(HandoverTest, ARollingRestartFailsNoRequest) {
  CheckedLoad load(cluster_, "load/", 16);
  ReadLoad reads(cluster_);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  std::vector<milliseconds::rep> pauses_ms;
  // Twice everybody, whoever leads first.
  for (int round = 0; round < 2; ++round) {
    std::vector<int> order = {cluster_.WaitForLeader()};
    ASSERT_GE(order[0], 0);
    for (const int node : cluster_.Others(order[0])) order.push_back(node);
    for (const int node : order) {
      load.TakeLongestPause();
      EXPECT_EQ(cluster_.Terminate(node, seconds(10)), 0);
      if (node == order[0]) {
        EXPECT_NE(cluster_.Log(node).find("hands leadership over to"), std::string::npos);
        EXPECT_EQ(cluster_.Log(node).find("did not take over in time"), std::string::npos);
      }
      ASSERT_TRUE(load.WaitForMore(kSomeWrites));
      pauses_ms.push_back(load.TakeLongestPause().count());
      std::printf("%s stopped, writes paused for %lld ms\n", ProcessCluster::Name(node).c_str(),
                  static_cast<long long>(pauses_ms.back()));
      cluster_.Start(node);
      ASSERT_TRUE(cluster_.WaitForApplied(1, {node}));
      ASSERT_TRUE(load.WaitForMore(kSomeWrites));
    }
  }
  load.Stop();
  reads.Stop();
  load.ExpectOnEveryNode();
  ExpectNoFailure(load);
  EXPECT_GT(reads.reads(), kSomeWrites);
  EXPECT_EQ(reads.failure(), "");
  // Under as much load as there can be, and other tests beside it: not each of them.
  std::sort(pauses_ms.begin(), pauses_ms.end());
  EXPECT_LT(pauses_ms[pauses_ms.size() / 2], 200);
}

// How long nobody takes writes: as the old leader sees it, and as writers do.
TEST_F(HandoverTest, TransfersUnderLoadPauseWritesForMilliseconds) {
  constexpr int kTransfers = 60;
  CheckedLoad load(cluster_, "load/", 4);
  std::vector<uint64_t> pauses_us;
  while (pauses_us.size() < kTransfers) {
    ASSERT_TRUE(load.WaitForMore(20));
    const int leader = cluster_.WaitForLeader();
    ASSERT_GE(leader, 0);
    RawNode node(cluster_.Address(leader));
    v1::TransferResponse handover;
    const grpc::Status status = node.TransferLeadership("", &handover);
    ASSERT_TRUE(status.ok()) << status.error_message();
    pauses_us.push_back(handover.pause_us());
  }
  load.Stop();
  std::sort(pauses_us.begin(), pauses_us.end());
  const uint64_t median_us = pauses_us[kTransfers / 2];
  std::printf(
      "%d transfers under load paused writes for %.1f ms (median), %.1f ms (90 %%), "
      "%.1f ms (longest)\n",
      kTransfers, static_cast<double>(median_us) / 1000,
      static_cast<double>(pauses_us[kTransfers * 9 / 10]) / 1000,
      static_cast<double>(pauses_us.back()) / 1000);
  EXPECT_LE(pauses_us[kTransfers * 9 / 10], 50'000u);
  load.ExpectOnEveryNode();
  ExpectNoFailure(load);
}

TEST_F(HandoverTest, ANodeAloneStopsSoon) {
  ProcessCluster alone({.nodes = 1});
  ASSERT_EQ(alone.WaitForLeader(), 0);
  CheckedLoad load(alone, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  EXPECT_EQ(alone.Terminate(0, seconds(5)), 0);
  alone.Start(0);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
  ExpectNoFailure(load);
}

TEST(StopTest, ASecondSignalWaitsForNobody) {
  // The handover would be waited for, and then the callers, for twelve seconds each.
  ProcessCluster cluster({.flags = {"--election-timeout", "6000", "--disk-stall-limit", "12000"}});
  const int leader = cluster.WaitForLeader(seconds(60));
  ASSERT_GE(leader, 0);
  // Only one that has what a leader has is handed the leadership.
  ASSERT_TRUE(cluster.NewClient()->Put("level", "1", {.ack = Ack::kAll}).ok());
  for (const int node : cluster.Others(leader)) cluster.Pause(node);
  Process& process = cluster.process(leader);
  process.Signal(SIGTERM);
  ASSERT_TRUE(WaitUntil(seconds(10), [&] {
    return cluster.Log(leader).find("hands leadership over") != std::string::npos;
  }));
  EXPECT_TRUE(process.running());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForEnd(seconds(5)), 0);
  EXPECT_NE(cluster.Log(leader).find("event=stopping_at_once"), std::string::npos);
  for (const int node : cluster.Others(leader)) cluster.Resume(node);
}

// The disk does not answer any more, which no thread of the node can do anything about.
TEST(StopTest, AProcessWhoseDiskHangsEndsAllTheSame) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the sanitizer wants to be loaded first";
#endif
  TempDir directory;
  const FreePort port;
  const std::string hang = directory.File("hang");
  // The address sanitizer, too, but it can do without.
  const char* sanitizer = std::getenv("ASAN_OPTIONS");
  Process process(
      {"/usr/bin/env", "LD_PRELOAD=" SKEIN_HANG_SYNC_LIBRARY, "SKEIN_HANG_SYNC=" + hang,
       std::string("ASAN_OPTIONS=verify_asan_link_order=0:") + (sanitizer ? sanitizer : ""),
       SkeindPath(), "--id", "n1", "--data-dir", directory.File("data"), "--listen", port.address(),
       "--initial-cluster", "n1=" + port.address()},
      directory.File("log"));
  RawNode node(port.address());
  v1::PutResponse put;
  ASSERT_TRUE(WaitUntil(seconds(30), [&] { return node.Put(PutOf("k", "v"), &put).ok(); }));
  std::ofstream(hang) << "now";
  EXPECT_FALSE(node.Put(PutOf("k", "w"), &put, milliseconds(200)).ok());
  process.Signal(SIGTERM);
  ASSERT_TRUE(WaitUntil(
      seconds(30), [&] { return process.Output().find("event=stopping") != std::string::npos; }));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForEnd(seconds(10)), 1) << process.Output();
  EXPECT_NE(process.Output().find("event=fatal text=\"could not stop in time"), std::string::npos)
      << process.Output();
}

// A node that is still looking for its cluster has nothing to lose.
TEST(StopTest, ASignalEndsANodeThatWaitsToJoin) {
  TempDir directory;
  const FreePort port;
  Process process({SkeindPath(), "--id", "n9", "--data-dir", directory.File("data"), "--listen",
                   port.address(), "--join", "127.0.0.1:1"},
                  directory.File("log"));
  ASSERT_TRUE(WaitUntil(
      seconds(30), [&] { return process.Output().find("event=joining") != std::string::npos; }));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForEnd(seconds(10)), 0) << process.Output();
}

}  // namespace
}  // namespace skein
