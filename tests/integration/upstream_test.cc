// Learners that are fed by a follower (R36), with real processes.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/checked_load.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

constexpr size_t kSomeWrites = 500;

class UpstreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    upstream_ = leader_ == 0 ? 1 : 0;
    other_ = 3 - leader_ - upstream_;
  }

  // As a learner for good, until the leader accepts it.
  bool Add(int node, const std::string& address) {
    return WaitUntil(seconds(60), [&] {
      AddMemberOptions options;
      options.never_votes = true;
      options.upstream_id = ProcessCluster::Name(upstream_);
      const auto added = client_->AddMember(ProcessCluster::Name(node), address, options);
      if (!added.ok()) return absl::IsAlreadyExists(added.status());
      return added->Find(ProcessCluster::Name(node))->never_votes;
    });
  }
  bool WaitForFeeder(const std::vector<int>& learners, int feeder) {
    return WaitUntil(seconds(60), [&] {
      return std::all_of(learners.begin(), learners.end(), [&](int node) {
        const auto status = cluster_.StatusOf(node);
        return status && status->fed_by_id == ProcessCluster::Name(feeder);
      });
    });
  }

  ProcessCluster cluster_{{.nodes = 3, .spares = 2}};
  std::unique_ptr<Client> client_ = cluster_.NewClient();
  int leader_ = -1;
  int upstream_ = -1;  // a follower
  int other_ = -1;     // the other one
};

TEST_F(UpstreamTest, LearnersFindAnotherFeederWhenTheirsIsKilled) {
  const std::vector<int> learners = {3, 4};
  CheckedLoad load(cluster_, "load/");
  for (const int node : learners) {
    ASSERT_TRUE(Add(node, cluster_.Address(node)));
    cluster_.Start(node);
  }
  ASSERT_TRUE(WaitForFeeder(learners, upstream_));
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Kill(upstream_);
  ASSERT_TRUE(WaitForFeeder(learners, other_));
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  EXPECT_TRUE(cluster_.WaitForApplied(client_->token(), learners));
  cluster_.Start(upstream_);
  EXPECT_TRUE(WaitForFeeder(learners, upstream_));
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
}

// Each of the others reaches the learner by a link of its own, which counts.
TEST_F(UpstreamTest, TheLeaderSendsItsLearnerNothingButHeartbeats) {
  constexpr int kLearner = 3;
  constexpr int kValues = 500;
  constexpr size_t kValueBytes = 16 << 10;
  FaultProxy proxy;
  std::vector<FreePort> ports(3);
  std::vector<int> links;
  const std::string address = cluster_.Address(kLearner);
  const int port = std::stoi(address.substr(address.rfind(':') + 1));
  for (int node = 0; node < 3; ++node) {
    links.push_back(proxy.AddLink(ports[node].number(), port));
    cluster_.SetFlags(node, {"--peer-addresses", "n4=" + ports[node].address()});
    cluster_.Kill(node);
    cluster_.Start(node);
  }
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  ASSERT_TRUE(WaitUntil(seconds(60), [&] {
    return client_->TransferLeadership(ProcessCluster::Name(leader_)).ok() ||
           cluster_.WaitForLeader() == leader_;
  }));
  ASSERT_TRUE(Add(kLearner, address));
  cluster_.Start(kLearner);
  ASSERT_TRUE(WaitForFeeder({kLearner}, upstream_));
  const auto put = client_->Put("first", "1");
  ASSERT_TRUE(put.ok()) << put.status();
  ASSERT_TRUE(cluster_.WaitForApplied(put->revision, {kLearner}));
  std::vector<uint64_t> before;
  for (const int link : links) before.push_back(proxy.Stats(link).delivered);
  for (int i = 0; i < kValues; ++i) {
    const auto written = client_->Put("key" + std::to_string(i), std::string(kValueBytes, 'v'));
    ASSERT_TRUE(written.ok()) << written.status();
  }
  ASSERT_TRUE(cluster_.WaitForApplied(client_->token(), {kLearner}));
  ASSERT_EQ(cluster_.WaitForLeader(), leader_);
  const auto delivered = [&](int node) {
    return proxy.Stats(links[node]).delivered - before[node];
  };
  std::printf("bytes to the learner: %llu of the leader, %llu of its upstream, %llu of the other\n",
              static_cast<unsigned long long>(delivered(leader_)),
              static_cast<unsigned long long>(delivered(upstream_)),
              static_cast<unsigned long long>(delivered(other_)));
  EXPECT_GT(delivered(upstream_), kValues * kValueBytes);
  EXPECT_LT(delivered(leader_), kValues * kValueBytes / 10);
  EXPECT_LT(delivered(other_), kValues * kValueBytes / 10);
}

}  // namespace
}  // namespace skein
