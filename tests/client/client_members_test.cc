// What operators ask of the client library, and how the library follows a cluster that changes.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "skein/client.h"
#include "tests/client/fake_cluster.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ClientMembersTest : public testing::Test {
 protected:
  std::unique_ptr<Client> Connect(const std::vector<std::string>& ids, ClientOptions options = {}) {
    options.refresh_interval = milliseconds(50);
    std::vector<std::string> endpoints;
    for (const std::string& id : ids) endpoints.push_back(cluster_.node(id).address());
    return Client::Connect(endpoints, options);
  }
  // Whom reads are answered by, of many.
  static std::map<std::string, int> Readers(Client* client, ReadPolicy policy = ReadPolicy::kAny) {
    std::map<std::string, int> readers;
    ReadOptions options;
    options.policy = policy;
    for (int i = 0; i < 60; ++i) {
      const auto got = client->Get("k", options);
      EXPECT_TRUE(got.ok()) << got.status();
      if (got.ok()) ++readers[got->by.node_id];
    }
    return readers;
  }

  FakeCluster cluster_{3};
};

TEST_F(ClientMembersTest, ChangesAreMadeThroughAnyNode) {
  auto client = Connect({"n3"});
  const auto added = client->AddMember("n4", "127.0.0.1:9", {.promote_when_level = true});
  ASSERT_TRUE(added.ok()) << added.status();
  ASSERT_NE(added->Find("n4"), nullptr);
  EXPECT_FALSE(added->Find("n4")->voter);
  EXPECT_TRUE(added->Find("n4")->promote_when_level);
  EXPECT_EQ(added->Find("n4")->address, "127.0.0.1:9");
  EXPECT_TRUE(added->Find("n4")->incarnation.empty());
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n4)");

  const auto moved = client->MoveMember("n4", "127.0.0.1:8");
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(moved->Find("n4")->address, "127.0.0.1:8");

  const auto promoted = client->PromoteMember("n4");
  ASSERT_TRUE(promoted.ok()) << promoted.status();
  EXPECT_TRUE(promoted->Find("n4")->voter);
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 n4");

  const auto removed = client->RemoveMember("n2", {.force = true});
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->Find("n2"), nullptr);
  EXPECT_EQ(cluster_.Members(), "n1 n3 n4");

  const auto members = client->Members();
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_EQ(members->told_by, "n1") << "the leader knows best";
  EXPECT_EQ(members->cluster_token, "skein");
  EXPECT_EQ(members->index, 4u);
  EXPECT_TRUE(members->committed);
  ASSERT_EQ(members->members.size(), 3u);
}

TEST_F(ClientMembersTest, AForcedRemovalSaysSo) {
  std::atomic<int> forced{0};
  cluster_.Intervene([&](const FakeCluster::Change& change) -> std::optional<grpc::Status> {
    if (change.force) ++forced;
    return std::nullopt;
  });
  auto client = Connect({"n1"});
  ASSERT_TRUE(client->RemoveMember("n2").ok());
  EXPECT_EQ(forced, 0);
  ASSERT_TRUE(client->RemoveMember("n3", {.force = true}).ok());
  EXPECT_EQ(forced, 1);
}

TEST_F(ClientMembersTest, RefusalsComeThroughWithTheirReason) {
  auto client = Connect({"n2"});
  EXPECT_EQ(client->PromoteMember("n9").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(client->PromoteMember("n2").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(client->AddMember("n2", "127.0.0.1:9").status().code(),
            absl::StatusCode::kAlreadyExists);
  cluster_.Intervene([](const FakeCluster::Change&) {
    return NodeError(grpc::StatusCode::FAILED_PRECONDITION, "n4 lacks 7 entries");
  });
  const absl::Status status = client->PromoteMember("n4").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(MessageOf(status).find("lacks 7"), std::string::npos);
  EXPECT_FALSE(DetailOf(status).maybe_applied);
  EXPECT_EQ(cluster_.asked(), 4) << "no refusal is tried again";
}

TEST_F(ClientMembersTest, WhatIsCertainlyNotDoneIsTriedAgain) {
  std::atomic<int> asked{0};
  cluster_.Intervene([&](const FakeCluster::Change&) -> std::optional<grpc::Status> {
    if (++asked <= 3) return NodeError(grpc::StatusCode::UNAVAILABLE, "only just elected");
    return std::nullopt;
  });
  auto client = Connect({"n2"});
  const auto added = client->AddMember("n4", "127.0.0.1:9");
  EXPECT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n4)");
}

TEST_F(ClientMembersTest, AnUnknownOutcomeIsToldAsSuchAndNotTriedAgain) {
  cluster_.Intervene([](const FakeCluster::Change&) {
    v1::ErrorDetail detail;
    detail.set_reason(v1::OUTCOME_UNKNOWN);
    detail.set_maybe_applied(true);
    return NodeError(grpc::StatusCode::UNKNOWN, "stepped down before it was committed", detail);
  });
  auto client = Connect({"n1"});
  absl::Status status = client->AddMember("n4", "127.0.0.1:9").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown);
  EXPECT_TRUE(DetailOf(status).maybe_applied);
  EXPECT_NE(DetailOf(status).hint.find("ask for the members"), std::string::npos);
  EXPECT_EQ(cluster_.asked(), 1);

  // A connection that breaks under the call leaves as much open.
  cluster_.Intervene([](const FakeCluster::Change&) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  });
  status = client->RemoveMember("n2").status();
  EXPECT_EQ(DetailOf(status).reason, ErrorReason::kOutcomeUnknown) << status;
  EXPECT_EQ(cluster_.asked(), 2);
}

TEST_F(ClientMembersTest, ALeaderThatDoesNotAnswerLeavesTheOutcomeUnknownAtTheDeadline) {
  Notification over;
  cluster_.Intervene([&](const FakeCluster::Change&) -> std::optional<grpc::Status> {
    over.Wait();
    return std::nullopt;
  });
  auto client = Connect({"n1"});
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status =
      client->AddMember("n4", "127.0.0.1:9", {.deadline = milliseconds(300)}).status();
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(3));
  EXPECT_EQ(DetailOf(status).reason, ErrorReason::kOutcomeUnknown) << status;
  over.Notify();
}

TEST_F(ClientMembersTest, ANewLeaderIsFound) {
  auto client = Connect({"n1"});
  ASSERT_TRUE(client->Members().ok());
  cluster_.node("n1").Stop();
  cluster_.Elect("n2");
  const auto added = client->AddMember("n4", "127.0.0.1:9");
  EXPECT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(client->Members()->told_by, "n2");
}

TEST_F(ClientMembersTest, MembersAreToldWithoutALeader) {
  cluster_.node("n1").Stop();
  cluster_.Elect("");
  auto client = Connect({"n2", "n3"});
  const auto members = client->Members();
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_EQ(members->members.size(), 3u);
}

// The old leader was removed and knows nothing of it; nor does the client.
TEST_F(ClientMembersTest, MembersComeFromWhoLeadsNow) {
  auto client = Connect({"n1"});
  ASSERT_EQ(client->Members()->told_by, "n1");
  const std::vector<std::string> left_out = {"n1"};
  cluster_.Elect("n2", left_out);
  cluster_.Apply({FakeCluster::Change::Kind::kRemove, "n1"}, left_out);
  const auto members = client->Members();
  ASSERT_TRUE(members.ok()) << members.status();
  EXPECT_EQ(members->told_by, "n2");
  EXPECT_EQ(members->members.size(), 2u);
}

TEST_F(ClientMembersTest, NobodyThereIsSaidSoon) {
  for (const char* id : {"n1", "n2", "n3"}) cluster_.node(id).Stop();
  auto client = Connect({"n1"});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(client->AddMember("n4", "127.0.0.1:9").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client->Members().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(4));
}

TEST_F(ClientMembersTest, LeadershipIsHandedOver) {
  auto client = Connect({"n2"});
  const auto transfer = client->TransferLeadership("n3");
  ASSERT_TRUE(transfer.ok()) << transfer.status();
  EXPECT_EQ(transfer->leader_id, "n3");
  EXPECT_EQ(transfer->term, 2u);
  EXPECT_EQ(transfer->pause_us, 12'345u);
  EXPECT_EQ(client->TransferLeadership("n3").status().code(), absl::StatusCode::kAlreadyExists);
  const auto best = client->TransferLeadership();
  ASSERT_TRUE(best.ok()) << best.status();
  EXPECT_EQ(best->leader_id, "n1");
}

TEST_F(ClientMembersTest, AnOlderNodeSaysWhatItLacks) {
  cluster_.node("n1").SetOperatorScripts(nullptr, nullptr);
  auto client = Connect({"n1"});
  const absl::Status status = client->AddMember("n4", "127.0.0.1:9").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(DetailOf(status).hint.find("upgrade"), std::string::npos);
}

TEST_F(ClientMembersTest, StatusTellsHowAMemberCatchesUp) {
  cluster_.Apply({FakeCluster::Change::Kind::kAdd, "n4", cluster_.StartNode("n4").address()});
  v1::CatchUp catch_up;
  catch_up.set_way(v1::CatchUp::WAY_SNAPSHOT);
  catch_up.set_bytes_done(100);
  catch_up.set_bytes_left(300);
  catch_up.set_bytes_per_second(50);
  catch_up.set_source_id("n2");
  cluster_.SetCatchUp("n4", catch_up);
  auto client = Connect({"n2"});
  auto status = client->Status();
  ASSERT_TRUE(status.ok()) << status.status();
  ASSERT_EQ(status->nodes.size(), 4u);
  EXPECT_FALSE(status->nodes[1].catch_up.has_value());
  EXPECT_TRUE(status->nodes[1].voter);
  const NodeStatus& learner = status->nodes[3];
  EXPECT_EQ(learner.role, NodeRole::kLearner);
  EXPECT_FALSE(learner.voter);
  EXPECT_TRUE(learner.connected);
  ASSERT_TRUE(learner.catch_up.has_value());
  EXPECT_EQ(learner.catch_up->way, CatchUpWay::kSnapshot);
  EXPECT_EQ(learner.catch_up->bytes_done, 100u);
  EXPECT_EQ(learner.catch_up->bytes_left, 300u);
  EXPECT_EQ(learner.catch_up->bytes_per_second, 50u);
  EXPECT_EQ(learner.catch_up->source_id, "n2");
  cluster_.SetLevel("n4");
  status = client->Status();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_FALSE(status->nodes[3].catch_up.has_value());
}

TEST_F(ClientMembersTest, StatusThroughARemovedNodeShowsTheClusterAndThatItIsNoMember) {
  // n4 and n5 replace n2 and n3, of which n3 does not hear.
  cluster_.Apply({FakeCluster::Change::Kind::kAdd, "n4", cluster_.StartNode("n4").address()},
                 {"n3"});
  cluster_.Apply({FakeCluster::Change::Kind::kAdd, "n5", cluster_.StartNode("n5").address()},
                 {"n3"});
  cluster_.Apply({FakeCluster::Change::Kind::kRemove, "n2"}, {"n3"});
  cluster_.Apply({FakeCluster::Change::Kind::kRemove, "n3"}, {"n3"});
  cluster_.node("n2").Stop();
  auto client = Connect({"n3"});
  const auto status = client->Status();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->leader_id, "n1");
  std::map<std::string, bool> members;
  for (const NodeStatus& node : status->nodes) members[node.id] = node.member;
  EXPECT_EQ(members,
            (std::map<std::string, bool>{{"n1", true}, {"n3", false}, {"n4", true}, {"n5", true}}));
}

TEST_F(ClientMembersTest, NewNodesServeReadsOnceTheyAreLevel) {
  auto client = Connect({"n1"});
  Readers(client.get());
  cluster_.Apply({FakeCluster::Change::Kind::kAdd, "n4", cluster_.StartNode("n4").address()});
  v1::CatchUp catch_up;
  catch_up.set_way(v1::CatchUp::WAY_LOG);
  cluster_.SetCatchUp("n4", catch_up);
  const int before = cluster_.node("n4").status_calls();
  ASSERT_TRUE(
      WaitUntil(seconds(10), [&] { return cluster_.node("n4").status_calls() > before + 2; }));
  EXPECT_EQ(Readers(client.get()).count("n4"), 0u);
  cluster_.SetLevel("n4");
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return Readers(client.get())["n4"] > 0; }));
}

TEST_F(ClientMembersTest, RemovedNodesAreLeftAlone) {
  auto client = Connect({"n1"});
  ASSERT_TRUE(WaitUntil(seconds(10), [&] { return Readers(client.get())["n3"] > 0; }));
  cluster_.Apply({FakeCluster::Change::Kind::kRemove, "n3"}, {"n3"});
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return Readers(client.get()).count("n3") == 0; }));
  // Neither streams nor questions are left.
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return cluster_.node("n3").open_streams() == 0; }));
  const int asked = cluster_.node("n3").status_calls();
  const int others = cluster_.node("n2").status_calls();
  ASSERT_TRUE(
      WaitUntil(seconds(10), [&] { return cluster_.node("n2").status_calls() > others + 3; }));
  EXPECT_LE(cluster_.node("n3").status_calls(), asked + 1);
}

TEST_F(ClientMembersTest, ANodeThatTheUserHasNamedIsAskedThoughItWasRemoved) {
  auto client = Connect({"n3"});
  Readers(client.get());
  cluster_.Apply({FakeCluster::Change::Kind::kRemove, "n3"}, {"n3"});
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return Readers(client.get()).count("n3") == 0; }));
  const int asked = cluster_.node("n3").status_calls();
  EXPECT_TRUE(
      WaitUntil(seconds(10), [&] { return cluster_.node("n3").status_calls() > asked + 2; }));
}

TEST_F(ClientMembersTest, AMovedNodeIsFollowedUnderLoad) {
  auto client = Connect({"n1", "n2", "n3"});
  ASSERT_TRUE(client->Put("k", "v").ok());
  // The leader goes to another machine: the same node, another address.
  FakeNode& moved = cluster_.Replace("n1");
  cluster_.Apply({FakeCluster::Change::Kind::kMove, "n1", moved.address()});
  // A put that meets the end of the old process may have an unknown outcome.
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return client->Put("k", "w").ok(); }));
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return client->leader_address() == moved.address(); }));
  EXPECT_TRUE(WaitUntil(seconds(10), [&] { return Readers(client.get())["n1"] > 0; }));
}

}  // namespace
}  // namespace skein
