// What the client library says of a call that fails: whether it may have taken effect.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>

#include "common/mutex.h"
#include "tests/client/client_fixture.h"
#include "tests/client/fake_cluster.h"

namespace skein {
namespace {

using std::chrono::milliseconds;

using ClientOutcomeTest = ClientTest;

TEST_F(ClientOutcomeTest, NoQuorumIsToldAtOnce) {
  for (auto& one : nodes_) {
    one->SetLeader("", 2);
    one->SetScript(Refuse(grpc::StatusCode::UNAVAILABLE, v1::NO_QUORUM));
  }
  auto client = Connect({1, 2, 3});
  const auto start = std::chrono::steady_clock::now();
  const auto put = client->Put("k", "v");
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(DetailOf(put.status()).reason, ErrorReason::kNoQuorum) << put.status();
  EXPECT_LT(Since(start), milliseconds(1000));
}

TEST_F(ClientOutcomeTest, ABrokenStreamMakesTheOutcomeUnknownAndIsNotRetried) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "1").ok());
  const int before = node(2).requests() + node(3).requests();
  node(1).SetScript(BreakStream());
  const auto put = client->Put("k", "2");
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.status().code(), absl::StatusCode::kUnknown);
  const ErrorDetail detail = DetailOf(put.status());
  EXPECT_EQ(detail.reason, ErrorReason::kOutcomeUnknown);
  EXPECT_TRUE(detail.maybe_applied);
  EXPECT_FALSE(detail.hint.empty());
  EXPECT_EQ(node(2).requests() + node(3).requests(), before);
}

// A node that stops says that it has answered whatever it took.
TEST_F(ClientOutcomeTest, AWriteThatAStoppingNodeDidNotTakeIsSentToTheNextLeader) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "1").ok());
  v1::ErrorDetail detail;
  detail.set_reason(v1::SHUTTING_DOWN);
  node(1).SetStreamEnd(NodeError(grpc::StatusCode::UNAVAILABLE, "n1 is stopping", detail));
  node(1).SetScript([this](const v1::Request& request, v1::Response*) {
    if (request.has_put()) Elect(2, 2);
    return FakeNode::Act::kBreakStream;
  });
  const auto put = client->Put("k", "2");
  EXPECT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(node(2).requests(), 1);
}

// gRPC's server kills streams that come while it shuts down, with a bare status, and nobody knows
// what of them was read: a client writes only into a stream that the node has taken.
TEST_F(ClientOutcomeTest, AWriteIsNotSentIntoAStreamThatTheNodeDoesNotTake) {
  node(1).SetTakesStreams(false);
  auto client = Connect({1, 2, 3});
  Notification done;
  absl::Status status;
  client->PutAsync("k", "v", {}, [&](absl::StatusOr<PutResult> put) {
    status = put.status();
    done.Notify();
  });
  EXPECT_FALSE(done.WaitFor(milliseconds(150))) << status;
  Elect(3, 2);
  ASSERT_TRUE(done.WaitFor(std::chrono::seconds(4)));
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientOutcomeTest, AWriteThatWasNeverSentIsRetriedElsewhere) {
  node(1).Stop();  // and the others still name it as the leader
  auto client = Connect({2});
  Notification done;
  absl::Status status;
  client->PutAsync("k", "v", {}, [&](absl::StatusOr<PutResult> put) {
    status = put.status();
    done.Notify();
  });
  EXPECT_FALSE(done.WaitFor(milliseconds(150)));
  Elect(3, 2);
  ASSERT_TRUE(done.WaitFor(std::chrono::seconds(4)));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(node(1).requests(), 0);
}

TEST_F(ClientOutcomeTest, TheDeadlineHoldsOnABlackHole) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "v").ok());
  for (auto& one : nodes_) one->SetSilent(true);
  const auto start = std::chrono::steady_clock::now();
  const auto put = client->Put("k", "v", {.deadline = milliseconds(300)});
  EXPECT_EQ(DetailOf(put.status()).reason, ErrorReason::kOutcomeUnknown) << put.status();
  EXPECT_GE(Since(start), milliseconds(290));
  EXPECT_LT(Since(start), milliseconds(800));
  const auto again = std::chrono::steady_clock::now();
  const auto got = client->Get("k", {.deadline = milliseconds(300)});
  EXPECT_EQ(got.status().code(), absl::StatusCode::kDeadlineExceeded) << got.status();
  EXPECT_LT(Since(again), milliseconds(800));
}

// Nothing was sent to nodes that have taken no stream.
TEST_F(ClientOutcomeTest, ABlackHoleFromTheBeginningHasTakenNoWrite) {
  for (auto& one : nodes_) one->SetSilent(true);
  auto client = Connect({1, 2, 3});
  const auto put = client->Put("k", "v", {.deadline = milliseconds(300)});
  EXPECT_EQ(put.status().code(), absl::StatusCode::kDeadlineExceeded) << put.status();
  EXPECT_FALSE(DetailOf(put.status()).maybe_applied) << put.status();
}

TEST_F(ClientOutcomeTest, StreamsThatBreakUnderLoadCompleteEveryCall) {
  auto client = Connect({1, 2, 3});
  constexpr int kCallers = 32;
  constexpr int kCallsEach = 200;
  std::atomic<int> answered{0};
  std::atomic<int> wrong{0};
  std::function<void(int)> call = [&](int left) {
    client->PutAsync("k", "v", {}, [&, left](absl::StatusOr<PutResult> put) {
      if (!put.ok() && !DetailOf(put.status()).maybe_applied) ++wrong;
      if (left > 1) call(left - 1);
      ++answered;
    });
  };
  for (int i = 0; i < kCallers; ++i) call(kCallsEach);
  constexpr int kAll = kCallers * kCallsEach;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while (answered < kAll && std::chrono::steady_clock::now() < until) {
    const int before = answered;
    node(1).BreakStreams();
    // A stream that always breaks at once would never answer anything.
    WaitUntil(std::chrono::seconds(1), [&] { return answered >= std::min(before + 50, kAll); });
  }
  EXPECT_EQ(answered, kCallers * kCallsEach);
  EXPECT_EQ(wrong, 0) << "what was not sent must be sent again";
}

}  // namespace
}  // namespace skein
