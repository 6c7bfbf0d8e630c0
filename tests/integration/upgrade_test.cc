// A cluster whose nodes do not all speak the newest protocol version, and how it gets there (R27).
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/error.h"
#include "tests/integration/checked_load.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

constexpr size_t kSomeWrites = 300;
// Enough that the state is written to table files, so that the log may be trimmed.
constexpr int kValues = 4000;
constexpr size_t kValueBytes = 16 << 10;

class UpgradeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const int leader = cluster_.WaitForLeader();
    ASSERT_GE(leader, 0);
    old_ = cluster_.Others(leader).front();
    Restart({"--protocol-version", "1"});
  }
  void Restart(const std::vector<std::string>& flags) {
    cluster_.Kill(old_);
    cluster_.SetFlags(old_, flags);
    cluster_.Start(old_);
  }
  bool WaitForVersion(uint32_t version) {
    return WaitUntil(seconds(30), [&] {
      const auto status = cluster_.StatusOf(old_);
      return status && status->protocol_version == version;
    });
  }
  // Of a member that never votes, which needs version 2.
  absl::Status AddReplica() {
    AddMemberOptions options;
    options.never_votes = true;
    return client_->AddMember("n4", cluster_.Address(3), options).status();
  }

  ProcessCluster cluster_{{.nodes = 3, .spares = 1, .flags = {"--log-retention-bytes", "1000000"}}};
  std::unique_ptr<Client> client_ = cluster_.NewClient();
  int old_ = -1;  // the node that speaks version 1
};

TEST_F(UpgradeTest, AMemberOfVersionOneTakesPartAndANewFeatureWaitsForIt) {
  ASSERT_TRUE(WaitForVersion(1));
  const std::vector<std::string> voters = {cluster_.Address(0), cluster_.Address(1),
                                           cluster_.Address(2)};
  CheckedLoad load(voters, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  // A failover, in which its vote and its log count.
  const int leader = cluster_.WaitForLeader();
  ASSERT_GE(leader, 0);
  cluster_.Kill(leader);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Start(leader);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  // The new feature is refused, with the member that is in the way.
  ASSERT_TRUE(cluster_.WaitForApplied(client_->token(), {0, 1, 2}));
  absl::Status refused;
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    refused = AddReplica();
    return MessageOf(refused).find("speaks version 1") != std::string::npos;
  })) << refused;
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_NE(MessageOf(refused).find(ProcessCluster::Name(old_) + " speaks version 1: upgrade it"),
            std::string::npos)
      << refused;
  // Upgraded, it is not.
  Restart({});
  ASSERT_TRUE(WaitForVersion(2));
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    refused = AddReplica();
    return refused.ok() || absl::IsAlreadyExists(refused);
  })) << refused;
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
  // There is no way back now.
  const auto last = client_->Put("last", "1");
  ASSERT_TRUE(last.ok() && cluster_.WaitForApplied(last->revision, {old_}));
  Restart({"--protocol-version", "1"});
  EXPECT_EQ(cluster_.process(old_).WaitForEnd(seconds(30)), 2);
  EXPECT_NE(cluster_.Log(old_).find("which need protocol version 2"), std::string::npos);
}

TEST_F(UpgradeTest, AMemberOfVersionOneTakesASnapshot) {
  ASSERT_TRUE(WaitForVersion(1));
  cluster_.Kill(old_);
  for (int i = 0; i < kValues; ++i) {
    const auto put = client_->Put("key" + std::to_string(i), std::string(kValueBytes, 'v'));
    ASSERT_TRUE(put.ok()) << put.status();
  }
  cluster_.Start(old_);
  EXPECT_TRUE(WaitUntil(seconds(60), [&] {
    return cluster_.Log(old_).find("the log begins anew after the snapshot") != std::string::npos;
  }));
  EXPECT_TRUE(cluster_.WaitForApplied(client_->token(), {old_}));
}

// As docs/operating.md has it: the leader last, which hands over first.
TEST(RollingUpgradeTest, AllNodesGoFromVersionOneToTwoUnderLoad) {
  ProcessCluster cluster({.nodes = 3, .spares = 1, .flags = {}});
  const std::vector<int> nodes = {0, 1, 2};
  for (const int node : nodes) {
    cluster.Kill(node);
    cluster.SetFlags(node, {"--protocol-version", "1"});
    cluster.Start(node);
  }
  const auto speaks = [&](int node, uint32_t version) {
    return WaitUntil(seconds(30), [&] {
      const auto status = cluster.StatusOf(node);
      return status && status->protocol_version == version;
    });
  };
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  for (const int node : nodes) ASSERT_TRUE(speaks(node, 1)) << node;
  const auto client = cluster.NewClient();
  AddMemberOptions replica;
  replica.never_votes = true;
  const auto add = [&] { return client->AddMember("n4", cluster.Address(3), replica).status(); };
  CheckedLoad load({cluster.Address(0), cluster.Address(1), cluster.Address(2)}, "load/");
  for (const int node : {(leader + 1) % 3, (leader + 2) % 3, leader}) {
    ASSERT_TRUE(load.WaitForMore(kSomeWrites));
    absl::Status refused;
    EXPECT_TRUE(WaitUntil(seconds(30), [&] {
      refused = add();
      return MessageOf(refused).find("needs protocol version 2") != std::string::npos;
    })) << refused;
    EXPECT_EQ(cluster.Terminate(node, seconds(10)), 0);
    cluster.SetFlags(node, {});
    cluster.Start(node);
    ASSERT_TRUE(speaks(node, 2)) << node;
    const auto put = client->Put("beside", std::to_string(node));
    ASSERT_TRUE(put.ok()) << put.status();
    ASSERT_TRUE(cluster.WaitForApplied(put->revision, nodes));
  }
  // What all understand may be used now.
  absl::Status added;
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    added = add();
    return added.ok() || absl::IsAlreadyExists(added);
  })) << added;
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
  EXPECT_TRUE(load.record().unknown.empty()) << load.record().unknown.begin()->second;
}

TEST(ProtocolVersion, OneThatNobodySpeaksIsRefused) {
  const TempDir directory;
  const FreePort port;
  for (const std::string version : {"0", "3", "two"}) {
    const Ended ended =
        RunSkeind({"--id", "n1", "--data-dir", directory.File("d"), "--listen", port.address(),
                   "--initial-cluster", "n1=" + port.address(), "--protocol-version", version},
                  directory);
    EXPECT_EQ(ended.code, 2) << ended.output;
    EXPECT_NE(ended.output.find(version == "two" ? "protocol-version" : "1 to 2"),
              std::string::npos)
        << ended.output;
  }
}

}  // namespace
}  // namespace skein
