// What the client library does when its cluster was recovered from the loss of a majority (R35),
// and nodes that were left behind still answer.
#include <gtest/gtest.h>

#include <chrono>

#include "common/types.h"
#include "tests/client/client_fixture.h"
#include "tests/client/fake_cluster.h"

namespace skein {
namespace {

using std::chrono::milliseconds;

class ClientRecoveryTest : public ClientTest {
 protected:
  ClientRecoveryTest() {
    for (auto& one : nodes_) one->SetCluster(kBefore);
  }

  // n2 is all that there is, leads, and has lost what it had.
  void Recover() {
    node(2).SetCluster(kBefore ^ kHistory, kHistory);
    node(2).SetScript(left_.Serve(&node(2)));
    node(2).applied_revision = 1;
    node(2).SetLeader("n2", kTermsOfHistory + 1);
    node(2).SetMembers({nodes_[1].get()});
  }

  // The same, and then until a client has heard of it, by n2 alone.
  void RecoverAndTell() {
    node(3).SetSilent(true);
    Recover();
    const int before = node(2).status_calls();
    EXPECT_TRUE(
        WaitUntil(std::chrono::seconds(5), [&] { return node(2).status_calls() > before + 1; }));
  }

  std::unique_ptr<Client> ConnectAndAskOften() {
    ClientOptions options;
    options.refresh_interval = milliseconds(5);
    return Connect({1, 2, 3}, options);
  }

  static constexpr uint64_t kBefore = 7;
  static constexpr uint64_t kHistory = 1024;
  FakeStore left_;
};

// After a recovery from the loss of a majority (R35) a program goes on by itself: with what is
// left, and not with a node that was left behind.
TEST_F(ClientRecoveryTest, AClientLivesThroughARecovery) {
  auto client = Connect({1, 2, 3});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(client->Put("k", "old").ok());
  node(1).Stop();
  // n2 is all that there is, and has lost what it had; n3 is added, and goes on with its old data.
  Recover();
  node(2).SetMembers({nodes_[1].get(), nodes_[2].get()});
  const auto put = client->Put("k", "new");
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_LT(put->revision, 50U);
  EXPECT_LT(client->token(), 50U);
  for (int i = 0; i < 20; ++i) {
    const auto got = client->Get("k", {.policy = ReadPolicy::kFollowers});
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->by.node_id, "n2");
    EXPECT_EQ((*got)->value, "new");
  }
  const auto scan = client->Scan({.prefix = "k"});
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_EQ(scan->by.node_id, "n2");
  EXPECT_LT(client->token(), 50U);
}

// A node that was left behind answers a write, and stops. The client does not hear the answer, as
// it knows better by now; nor may it believe that whatever was not answered was not taken.
// (gRPC 1.51 lets the client's cancellation win over how the node ends the stream; others need
// not.)
TEST_F(ClientRecoveryTest, AWriteThatANodeLeftBehindTookIsNotSentAgain) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::SHUTTING_DOWN);
  node(1).SetStreamEnd(NodeError(grpc::StatusCode::UNAVAILABLE, "n1 is stopping", detail));
  node(1).SetScript([this](const v1::Request&, v1::Response* response) {
    node(1).SetSilent(true);  // but for this stream
    RecoverAndTell();
    response->mutable_put()->set_revision(1);
    response->mutable_put()->set_reached(v1::QUORUM);
    return FakeNode::Act::kAnswerAndEnd;
  });
  auto client = ConnectAndAskOften();
  const auto put = client->Put("k", "v");
  EXPECT_EQ(DetailOf(put.status()).reason, ErrorReason::kOutcomeUnknown) << put.status();
  EXPECT_EQ(node(2).requests(), 0);
}

// Else sessions would wait for revisions that are lost.
TEST_F(ClientRecoveryTest, AScanUnderWayIsNotWhatSessionsHaveSeen) {
  auto client = ConnectAndAskOften();
  ASSERT_TRUE(client->Put("k", "v").ok());
  node(1).applied_revision = 1000;
  ScanOptions options;
  options.read.policy = ReadPolicy::kLeader;
  ASSERT_TRUE(client->Scan(options).ok());
  EXPECT_EQ(client->token(), 1000U);
  Notification visited;
  node(1).BeforeEndOfScan([&] {
    EXPECT_TRUE(visited.WaitFor(std::chrono::seconds(5)));
    node(1).SetSilent(true);
    RecoverAndTell();
  });
  const auto scan = client->Scan(options, [&](const KeyValue& item) {
    if (item.key == "2") visited.Notify();
    return true;
  });
  ASSERT_TRUE(scan.ok()) << scan.status();
  EXPECT_EQ(scan->by.node_id, "n1");
  EXPECT_LT(client->token(), 1000U);
}

// Also while the node that goes on does not lead yet.
TEST_F(ClientRecoveryTest, StatusIsThatOfTheLatestHistory) {
  auto client = Connect({1, 2, 3});
  ASSERT_EQ(client->Status()->leader_id, "n1");
  Recover();
  node(2).SetLeader("", kTermsOfHistory);
  const auto status = client->Status();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->cluster_id, "0000000000000407");
  EXPECT_EQ(status->leader_id, "");
  EXPECT_EQ(status->term, kTermsOfHistory);
  for (const NodeStatus& one : status->nodes) EXPECT_EQ(one.member, one.id == "n2") << one.id;
}

}  // namespace
}  // namespace skein
