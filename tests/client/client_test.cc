// The client library against nodes that misbehave on purpose.
#include "skein/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <thread>

#include "common/mutex.h"
#include "tests/client/client_fixture.h"
#include "tests/client/fake_cluster.h"

namespace skein {
namespace {

using std::chrono::milliseconds;

TEST_F(ClientTest, ReadsItsOwnWritesThroughOneEndpointThatDoesNotLead) {
  auto client = Connect({2});
  const auto put = client->Put("k", "v");
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(put->revision, 1u);
  const auto got = client->Get("k");
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_TRUE(got->has_value());
  EXPECT_EQ((*got)->value, "v");
  EXPECT_EQ((*got)->version, 1u);
  EXPECT_GE(client->token(), 1u);
  const std::optional<KeyValue> plain = client->Get("missing").value();
  EXPECT_FALSE(plain.has_value());
}

TEST_F(ClientTest, DeletesAndReadsManyKeysAtOnce) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("a", "1").ok());
  ASSERT_TRUE(client->Put("b", "2").ok());
  EXPECT_TRUE(client->Delete("a").value().deleted);
  EXPECT_FALSE(client->Delete("a").value().deleted);
  const auto got = client->BatchGet({"a", "b"});
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_EQ(got->items.size(), 2u);
  EXPECT_FALSE(got->items[0].has_value());
  ASSERT_TRUE(got->items[1].has_value());
  EXPECT_EQ(got->items[1]->key, "b");
  EXPECT_EQ(got->items[1]->value, "2");
}

TEST_F(ClientTest, CarriesTheTokenInTheRead) {
  std::atomic<uint64_t> seen{0};
  for (auto& one : nodes_) {
    auto serve = store_.Serve(one.get());
    one->SetScript([&seen, serve](const v1::Request& request, v1::Response* response) {
      if (request.get().read().consistency() == v1::AT_LEAST) {
        seen = request.get().read().at_least_revision();
      }
      return serve(request, response);
    });
  }
  auto client = Connect({1});
  client->SetToken(42);
  ASSERT_TRUE(client->Get("k").ok());
  EXPECT_EQ(seen, 42u);
  client->SetToken(7);
  EXPECT_EQ(client->token(), 42u);
}

TEST_F(ClientTest, FollowsARedirectWithAHint) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "1").ok());
  Elect(3, 2);
  node(1).SetScript(RefuseWrites(&node(1), "n3", node(3).address(), 2));
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(client->Put("k", "2").ok());
  EXPECT_LT(Since(start), milliseconds(500));
  EXPECT_EQ(client->leader_address(), node(3).address());
}

TEST_F(ClientTest, FindsTheLeaderWithoutAHint) {
  auto client = Connect({1});
  ASSERT_TRUE(client->Put("k", "1").ok());
  Elect(2, 2);
  for (const int number : {1, 3}) {
    node(number).SetScript(Refuse(grpc::StatusCode::UNAVAILABLE, v1::NOT_LEADER));
  }
  const auto put = client->Put("k", "2");
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(client->leader_address(), node(2).address());
}

TEST_F(ClientTest, WaitsForALeaderThatIsElectedLater) {
  for (auto& one : nodes_) {
    one->SetLeader("", 1);
    one->SetScript(Refuse(grpc::StatusCode::UNAVAILABLE, v1::NOT_LEADER));
  }
  auto client = Connect({1, 2, 3});
  Notification done;
  absl::Status status;
  client->PutAsync("k", "v", {}, [&](absl::StatusOr<PutResult> put) {
    status = put.status();
    done.Notify();
  });
  EXPECT_FALSE(done.WaitFor(milliseconds(100)));
  Elect(2, 2);
  ASSERT_TRUE(done.WaitFor(std::chrono::seconds(4)));
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTest, AReadGoesOnToAnotherNodeWhenOneDies) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "v").ok());
  const auto first = client->Get("k");
  ASSERT_TRUE(first.ok()) << first.status();
  ByName(first->by.node_id).SetScript(BreakStream());
  const auto second = client->Get("k");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(second->by.node_id, first->by.node_id);
  ByName(second->by.node_id).Stop();
  const auto third = client->Get("k");
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ((*third)->value, "v");
}

TEST_F(ClientTest, ReadsGoToFollowersAndFallBackToTheLeader) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "v").ok());
  const int before = node(1).requests();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client->Get("k").ok());
  EXPECT_EQ(node(1).requests(), before);
  for (const int number : {2, 3}) {
    node(number).SetScript(Refuse(grpc::StatusCode::DEADLINE_EXCEEDED, v1::BEHIND));
  }
  const auto got = client->Get("k");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->by.node_id, "n1");
}

TEST_F(ClientTest, ASilentNodeHangsNoRead) {
  ClientOptions options;
  options.read_attempt_timeout = milliseconds(100);
  auto client = Connect({1, 2, 3}, options);
  ASSERT_TRUE(client->Put("k", "v").ok());
  const auto first = client->Get("k");
  ASSERT_TRUE(first.ok()) << first.status();
  ByName(first->by.node_id).SetSilent(true);
  const auto start = std::chrono::steady_clock::now();
  const auto second = client->Get("k");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(second->by.node_id, first->by.node_id);
  EXPECT_GE(Since(start), milliseconds(95)) << "the silent node was not asked";
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(client->Get("k").ok());
  EXPECT_LT(Since(start), milliseconds(1000));
}

// Though the deadline is shorter than what a read may take on one node.
TEST_F(ClientTest, AReadWithLittleTimeAsksAnotherNodeToo) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "v").ok());
  const auto first = client->Get("k");
  ASSERT_TRUE(first.ok()) << first.status();
  ByName(first->by.node_id).SetSilent(true);
  const auto second = client->Get("k", {.deadline = milliseconds(400)});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(second->by.node_id, first->by.node_id);
}

TEST_F(ClientTest, ANodeThatNobodyListensOnIsToldSoon) {
  const std::string address = node(1).address();
  for (auto& one : nodes_) one->Stop();
  ClientOptions options;
  options.unreachable_patience = milliseconds(200);
  auto client = Client::Connect({address}, options);
  const auto start = std::chrono::steady_clock::now();
  const auto put = client->Put("k", "v");
  EXPECT_EQ(put.status().code(), absl::StatusCode::kUnavailable) << put.status();
  EXPECT_FALSE(DetailOf(put.status()).maybe_applied);
  EXPECT_NE(MessageOf(put.status()).find(address), std::string::npos) << put.status();
  EXPECT_EQ(client->Get("k").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(Since(start), milliseconds(2000));
}

TEST_F(ClientTest, ComesBackWhenTheNodesDo) {
  auto client = Connect({1, 2, 3});
  ASSERT_TRUE(client->Put("k", "1").ok());
  for (auto& one : nodes_) one->Stop();
  EXPECT_FALSE(client->Put("k", "2", {.deadline = milliseconds(200)}).ok());
  for (auto& one : nodes_) one->Start();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  absl::Status status = absl::UnknownError("");
  while (!status.ok() && std::chrono::steady_clock::now() < until) {
    status = client->Put("k", "3").status();
  }
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ClientTest, BatchesWhatGathersBehindAWrite) {
  auto client = Connect({1});
  ASSERT_TRUE(client->Put("k", "v").ok());
  const int requests = node(1).requests();
  const int batches = node(1).batches();
  constexpr int kCalls = 5000;
  std::latch left(kCalls);
  std::atomic<int> failures{0};
  for (int i = 0; i < kCalls; ++i) {
    client->PutAsync("k", "v", {}, [&](absl::StatusOr<PutResult> put) {
      if (!put.ok()) ++failures;
      left.count_down();
    });
  }
  left.wait();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(node(1).requests() - requests, kCalls);
  EXPECT_LT(node(1).batches() - batches, kCalls / 4);
}

TEST_F(ClientTest, PassesErrorsOn) {
  node(1).SetScript(Refuse(grpc::StatusCode::INVALID_ARGUMENT, v1::INVALID_FIELD));
  auto client = Connect({1});
  const auto put = client->Put("", "v");
  EXPECT_EQ(put.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DetailOf(put.status()).reason, ErrorReason::kInvalidField);
}

TEST_F(ClientTest, TheDestructorCompletesWhatIsPending) {
  for (auto& one : nodes_) one->SetSilent(true);
  auto client = Connect({1, 2, 3});
  std::latch left(2);
  absl::Status put_status;
  absl::Status get_status;
  client->PutAsync("k", "v", {}, [&](absl::StatusOr<PutResult> put) {
    put_status = put.status();
    left.count_down();
  });
  client->GetAsync("k", {}, [&](absl::StatusOr<GetResult> got) {
    get_status = got.status();
    left.count_down();
  });
  client.reset();
  left.wait();
  EXPECT_TRUE(put_status.code() == absl::StatusCode::kCancelled ||
              DetailOf(put_status).maybe_applied)
      << put_status;
  EXPECT_EQ(get_status.code(), absl::StatusCode::kCancelled) << get_status;
}

TEST_F(ClientTest, ABlockingCallInACallbackIsRefused) {
  auto client = Connect({1});
  Notification done;
  absl::Status status;
  client->GetAsync("k", {}, [&](absl::StatusOr<GetResult>) {
    status = client->Get("k").status();
    done.Notify();
  });
  done.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientTest, ScansAndReportsTheStatusOfEveryNode) {
  auto client = Connect({2});
  const auto scan = client->Scan({.prefix = "p"});
  ASSERT_TRUE(scan.ok()) << scan.status();
  ASSERT_EQ(scan->items.size(), 3u);
  EXPECT_EQ(scan->items[2].key, "p2");
  node(3).Stop();
  const auto status = client->Status();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->leader_id, "n1");
  ASSERT_EQ(status->nodes.size(), 3u);
  EXPECT_TRUE(status->nodes[0].reachable);
  EXPECT_EQ(status->nodes[2].id, "n3");
  EXPECT_FALSE(status->nodes[2].reachable);
  EXPECT_FALSE(status->nodes[2].lag.has_value());
  int visited = 0;
  const auto some = client->Scan({.prefix = "p"}, [&](KeyValue) { return ++visited < 2; });
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(visited, 2);
}

TEST_F(ClientTest, TracesTheNodeThatIsAsked) {
  auto client = Connect({2});
  const auto trace = client->Trace(node(3).address(), 1);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->node_id, "n3");
  ASSERT_EQ(trace->entries.size(), 2u);
  const EntryStages& entry = trace->entries[0];
  EXPECT_EQ(entry.index, 12u);
  EXPECT_EQ(entry.first_revision, 2u);
  EXPECT_EQ(entry.last_revision, 2u);
  EXPECT_EQ(entry.bytes, 100u);
  EXPECT_EQ(entry.appended_us, 1u);
  EXPECT_EQ(entry.durable_us, 2u);
  EXPECT_EQ(entry.committed_us, 3u);
  EXPECT_EQ(entry.applied_us, 4u);
  node(3).Stop();
  EXPECT_EQ(client->Trace(node(3).address(), 1).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, WithoutDiscoveryEveryReadGoesToTheNamedNode) {
  ClientOptions options;
  options.discover = false;
  options.read_policy = ReadPolicy::kAny;
  for (const int number : {1, 3}) {
    auto client = Connect({number}, options);
    for (int i = 0; i < 20; ++i) {
      const auto got = client->Get("k");
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(got->by.node_id, node(number).id());
    }
  }
}

TEST_F(ClientTest, LargeValuesSurvive) {
  auto client = Connect({1, 2});
  std::string value(8 << 20, '\0');
  for (size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 31);
  ASSERT_TRUE(client->Put("big", value).ok());
  const auto got = client->Get("big");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE((*got)->value == value);
}

}  // namespace
}  // namespace skein
