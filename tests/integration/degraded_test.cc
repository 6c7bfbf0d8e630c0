// Clusters with too few nodes, or one node less: clear answers, in time.
#include <gtest/gtest.h>

#include "skein/error.h"
#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

class DegradedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    followers_ = cluster_.Others(leader_);
    client_ = cluster_.NewClient();
    const auto put = client_->Put("before", "1");
    ASSERT_TRUE(put.ok()) << put.status();
    ASSERT_TRUE(cluster_.WaitForApplied(put->revision, cluster_.AllNodes()));
  }

  // The only node that is left: refuses what needs a quorum, at once, and serves what does not.
  void ExpectClearAnswersWithoutQuorum(int survivor) {
    RawNode node(cluster_.Address(survivor));
    const auto began = steady_clock::now();
    grpc::Status status;
    EXPECT_TRUE(WaitUntil(seconds(3), [&] {
      v1::PutResponse put;
      // One that was appended before the loss was seen waits for its outcome.
      status = node.Put(PutOf("k", "v"), &put, milliseconds(500));
      return DetailIn(status).reason() == v1::NO_QUORUM;
    })) << status.error_message();
    EXPECT_LT(steady_clock::now() - began, seconds(4));
    for (int i = 0; i < 10; ++i) {
      const auto asked = steady_clock::now();
      v1::PutResponse put;
      status = node.Put(PutOf("k", "v"), &put, seconds(3));
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
      EXPECT_EQ(DetailIn(status).reason(), v1::NO_QUORUM) << status.error_message();
      EXPECT_FALSE(DetailIn(status).maybe_applied());
      EXPECT_LT(steady_clock::now() - asked, seconds(1));
      v1::GetResponse got;
      status = node.Get(GetOf("before", v1::LINEARIZABLE), &got, seconds(3));
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
      status = node.Get(GetOf("before", v1::ANY), &got, seconds(3));
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(got.value(), "1");
    }
    v1::StatusResponse answer;
    ASSERT_TRUE(node.Status(&answer).ok());
    EXPECT_FALSE(answer.has_quorum());
  }

  void ExpectClientSaysNoQuorum() {
    const auto asked = steady_clock::now();
    WriteOptions options;
    options.deadline = seconds(2);
    const auto put = client_->Put("k", "v", options);
    EXPECT_EQ(DetailOf(put.status()).reason, ErrorReason::kNoQuorum) << put.status();
    EXPECT_LT(steady_clock::now() - asked, seconds(3));
    const auto got = client_->Get("before", {.consistency = Consistency::kAny});
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ((*got)->value, "1");
  }

  ProcessCluster cluster_;
  int leader_ = -1;
  std::vector<int> followers_;
  std::unique_ptr<Client> client_;
};

TEST_F(DegradedTest, ALeaderAloneRefusesWritesAtOnce) {
  for (const int follower : followers_) cluster_.Kill(follower);
  ExpectClearAnswersWithoutQuorum(leader_);
  ExpectClientSaysNoQuorum();
  for (const int follower : followers_) cluster_.Start(follower);
  ASSERT_GE(cluster_.WaitForLeader(), 0);
  const auto put = client_->Put("after", "2");
  EXPECT_TRUE(put.ok()) << put.status();
}

TEST_F(DegradedTest, AFollowerAloneRefusesWritesAtOnce) {
  cluster_.Kill(leader_);
  cluster_.Kill(followers_[0]);
  ExpectClearAnswersWithoutQuorum(followers_[1]);
  ExpectClientSaysNoQuorum();
}

TEST_F(DegradedTest, AClientWorksThroughTheNodesThatAreLeft) {
  for (const int down : {followers_[0], leader_}) {
    cluster_.Kill(down);
    ASSERT_GE(cluster_.WaitForLeader(), 0);
    // The node that is down comes first, so that the client meets it.
    std::vector<std::string> endpoints = {cluster_.Address(down)};
    endpoints.push_back(cluster_.Address(cluster_.Others(down).front()));
    const auto client = Client::Connect(endpoints);
    for (int i = 0; i < 50; ++i) {
      const auto asked = steady_clock::now();
      const std::string value = std::to_string(i);
      const auto put = client->Put("k", value);
      ASSERT_TRUE(put.ok()) << put.status();
      const auto got = client->Get("k");
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ((*got)->value, value);
      EXPECT_LT(steady_clock::now() - asked, seconds(3));
    }
    const auto status = client->Status();
    ASSERT_TRUE(status.ok()) << status.status();
    ASSERT_EQ(status->nodes.size(), 3U);
    EXPECT_FALSE(status->nodes[down].reachable);
    cluster_.Start(down);
    ASSERT_TRUE(cluster_.WaitForApplied(client->token(), cluster_.AllNodes()));
  }
}

TEST_F(DegradedTest, WithNoNodeAtAllCallsEndSoon) {
  for (const int node : cluster_.AllNodes()) cluster_.Kill(node);
  const auto asked = steady_clock::now();
  const auto put = client_->Put("k", "v");
  EXPECT_FALSE(put.ok());
  const auto got = client_->Get("before");
  EXPECT_TRUE(absl::IsUnavailable(got.status())) << got.status();
  EXPECT_LT(steady_clock::now() - asked, seconds(8));
  for (const int node : cluster_.AllNodes()) cluster_.Start(node);
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    const auto back = client_->Get("before");
    return back.ok() && back->has_value() && (*back)->value == "1";
  }));
}

}  // namespace
}  // namespace skein
