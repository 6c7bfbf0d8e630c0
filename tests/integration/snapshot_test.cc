// Nodes that are too far behind for the log of the others.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

// Enough that the state is written to table files several times, so that the log may be trimmed;
// and several times the entries that are trimmed at once.
constexpr int kValues = 4000;
constexpr size_t kValueBytes = 16 << 10;

class SnapshotTest : public ::testing::Test {
 protected:
  explicit SnapshotTest(const std::vector<std::string>& more_flags = {})
      : cluster_({.nodes = 3, .spares = 1, .flags = Flags(more_flags)}) {}
  static std::vector<std::string> Flags(const std::vector<std::string>& more) {
    std::vector<std::string> flags = {"--log-retention-bytes", "1000000"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  // Far more than the log is kept for.
  void WriteMuch() {
    for (int i = 0; i < kValues; ++i) {
      const auto put =
          client_->Put("key" + std::to_string(i), std::string(kValueBytes, 'a' + i % 26));
      ASSERT_TRUE(put.ok()) << put.status();
    }
  }
  // As this node alone has it.
  void ExpectEverythingOn(int node) {
    EXPECT_TRUE(cluster_.WaitForApplied(client_->token(), {node}, seconds(60)));
    ClientOptions options;
    options.discover = false;
    const auto client = Client::Connect({cluster_.Address(node)}, options);
    ReadOptions any;
    any.consistency = Consistency::kAny;
    for (int i = 0; i < kValues; i += 97) {
      const auto got = client->Get("key" + std::to_string(i), any);
      ASSERT_TRUE(got.ok() && got->has_value()) << got.status();
      EXPECT_EQ((*got)->value, std::string(kValueBytes, 'a' + i % 26));
    }
  }
  bool WaitForLog(int node, const std::string& words) {
    return WaitUntil(seconds(30),
                     [&] { return cluster_.Log(node).find(words) != std::string::npos; });
  }

  // The new node is in the status of the leader, whoever that is.
  void AddTheNewNode() {
    v1::ChangeResponse changed;
    ASSERT_TRUE(WaitUntil(seconds(30), [&] {
      RawNode raw(cluster_.Address(cluster_.WaitForLeader()));
      return raw.AddMember(ProcessCluster::Name(kNew), cluster_.Address(kNew), true, &changed).ok();
    }));
    cluster_.Start(kNew);
  }

  static constexpr int kNew = 3;
  ProcessCluster cluster_;
  std::unique_ptr<Client> client_ = cluster_.NewClient();
  int leader_ = -1;
};

TEST_F(SnapshotTest, ANodeThatWasAwayForLongFetchesOneAndFollowsOn) {
  const int away = cluster_.Others(leader_).front();
  cluster_.Kill(away);
  WriteMuch();
  cluster_.Start(away);
  EXPECT_TRUE(WaitForLog(away, "the log begins anew after the snapshot"));
  ExpectEverythingOn(away);
  // What it holds now survives, and it goes on with the log.
  cluster_.Kill(away);
  cluster_.Start(away);
  ASSERT_TRUE(client_->Put("after", "it").ok());
  ExpectEverythingOn(away);
}

TEST_F(SnapshotTest, ANewNodeJoinsByOne) {
  WriteMuch();
  ASSERT_NO_FATAL_FAILURE(AddTheNewNode());
  EXPECT_TRUE(WaitForLog(kNew, "the log begins anew after the snapshot"));
  ExpectEverythingOn(kNew);
  EXPECT_TRUE(WaitForLog(kNew, "n4 is a voter now"));
}

// Of the followers the first would be asked.
TEST_F(SnapshotTest, TheSourceCanBeNamed) {
  WriteMuch();
  const std::string source = ProcessCluster::Name(leader_ == 2 ? 1 : 2);
  v1::ChangeResponse changed;
  const std::string name = ProcessCluster::Name(kNew);
  std::string refused;
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    const grpc::Status added = RawNode(cluster_.Address(leader_))
                                   .AddMember(name, cluster_.Address(kNew), true, &changed, source);
    refused = added.error_message();
    return added.ok();
  })) << refused;
  cluster_.Start(kNew);
  EXPECT_TRUE(WaitForLog(leader_, name +
                                      " needs the log from index 1, which was trimmed; it is "
                                      "offered a snapshot of " +
                                      source));
  ExpectEverythingOn(kNew);
  EXPECT_TRUE(WaitForLog(kNew, "n4 is a voter now"));
}

class SlowSnapshotTest : public SnapshotTest {
 protected:
  SlowSnapshotTest() : SnapshotTest({"--snapshot-bytes-per-second", "6000000"}) {}

  // How far the node is, by the leader's word, once it has `bytes` and not all.
  v1::CatchUp WaitForSnapshot(uint64_t bytes, int node = kNew) {
    v1::CatchUp catch_up;
    EXPECT_TRUE(WaitUntil(seconds(60), [&] {
      const int leader = cluster_.WaitForLeader();
      v1::StatusResponse status;
      if (leader < 0 || !RawNode(cluster_.Address(leader)).Status(&status).ok()) return false;
      catch_up = MemberIn(status, ProcessCluster::Name(node)).catch_up();
      return catch_up.way() == v1::CatchUp::WAY_SNAPSHOT && catch_up.bytes_done() > bytes &&
             catch_up.bytes_left() > 0 && catch_up.bytes_per_second() > 0;
    }));
    return catch_up;
  }
};

// The receiver goes on where it was; for a source that dies there is another.
TEST_F(SlowSnapshotTest, IsToldOfWhileItGoesOnThoughEitherSideIsKilled) {
  WriteMuch();
  ASSERT_NO_FATAL_FAILURE(AddTheNewNode());
  v1::CatchUp seen = WaitForSnapshot(0);
  EXPECT_LT(seen.bytes_per_second(), 2 * 6'000'000U);
  EXPECT_NE(seen.source_id(), ProcessCluster::Name(cluster_.WaitForLeader()));
  // What it has meanwhile is nothing, and it says so to who takes anything.
  ClientOptions options;
  options.discover = false;
  ReadOptions any;
  any.consistency = Consistency::kAny;
  const auto got = Client::Connect({cluster_.Address(kNew)}, options)->Get("key0", any);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_FALSE(got->has_value());

  cluster_.Kill(kNew);
  cluster_.Start(kNew);
  const uint64_t before = seen.bytes_done();
  seen = WaitForSnapshot(before);
  std::printf("killed at %llu bytes, went on, %llu of %llu from %s\n",
              static_cast<unsigned long long>(before),
              static_cast<unsigned long long>(seen.bytes_done()),
              static_cast<unsigned long long>(seen.bytes_done() + seen.bytes_left()),
              seen.source_id().c_str());
  const int source = seen.source_id().back() - '1';
  cluster_.Kill(source);
  EXPECT_TRUE(WaitForLog(kNew, "the log begins anew after the snapshot"));
  ExpectEverythingOn(kNew);
  cluster_.Start(source);
  ExpectEverythingOn(source);
}

// Its state is as old as it says, until the new one takes its place.
TEST_F(SlowSnapshotTest, MeanwhileTheOldStateIsServedToWhoTakesAnything) {
  const int away = cluster_.Others(leader_).front();
  ASSERT_TRUE(client_->Put("old", "1").ok());
  ASSERT_TRUE(cluster_.WaitForApplied(client_->token(), {away}, seconds(30)));
  ASSERT_EQ(cluster_.Terminate(away, seconds(30)), 0);  // its state is on the disk
  ASSERT_TRUE(client_->Put("old", "2").ok());
  WriteMuch();
  cluster_.Start(away);
  WaitForSnapshot(0, away);
  RawNode raw(cluster_.Address(away));
  const auto read = [&raw](v1::Consistency consistency, uint64_t at_least = 0) {
    v1::GetRequest request = GetOf("old", consistency, at_least);
    request.mutable_read()->set_wait_ms(300);
    request.mutable_read()->set_max_staleness_ms(1000);
    v1::GetResponse got;
    const grpc::Status status = raw.Get(request, &got);
    return status.ok() ? got.value() : "refused";
  };
  EXPECT_EQ(read(v1::ANY), "1");
  EXPECT_EQ(read(v1::LINEARIZABLE), "refused");
  EXPECT_EQ(read(v1::BOUNDED), "refused");
  EXPECT_EQ(read(v1::AT_LEAST, client_->token()), "refused");
  EXPECT_EQ(read(v1::ANY), "1");
  EXPECT_EQ(cluster_.Log(away).find("the log begins anew"), std::string::npos)
      << "all this came too late";
  EXPECT_TRUE(WaitForLog(away, "the log begins anew after the snapshot"));
  ExpectEverythingOn(away);
  EXPECT_EQ(read(v1::LINEARIZABLE), "2");
  EXPECT_EQ(read(v1::BOUNDED), "2");
}

}  // namespace
}  // namespace skein
