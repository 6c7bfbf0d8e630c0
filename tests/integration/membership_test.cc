// Members come and go, with real processes, under a load of which every acknowledged write is read
// back.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
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

constexpr size_t kSomeWrites = 300;
// Enough that the state is written to table files several times, so that the log may be trimmed.
constexpr int kManyValues = 4000;

// A cluster, and an operator who asks whoever leads.
class MemberCluster {
 public:
  MemberCluster(int nodes, int spares, std::vector<std::string> flags = {})
      : cluster({.nodes = nodes, .spares = spares, .flags = std::move(flags)}) {
    for (const std::string& address : cluster.Addresses()) {
      nodes_.push_back(std::make_unique<RawNode>(address));
    }
  }

  RawNode& raw(int node) { return *nodes_[node]; }

  // Asks the leader, and who follows it, until it is done or refused.
  template <typename Ask>
  grpc::Status AskLeader(Ask ask) {
    grpc::Status status;
    WaitUntil(seconds(60), [&] {
      const int leader = cluster.WaitForLeader();
      if (leader < 0) return false;
      status = ask(nodes_[leader].get());
      return status.error_code() != grpc::StatusCode::UNAVAILABLE;
    });
    return status;
  }
  grpc::Status Add(int node, bool promote = true) {
    return AskLeader([&](RawNode* leader) {
      return leader->AddMember(ProcessCluster::Name(node), cluster.Address(node), promote,
                               &changed_);
    });
  }
  grpc::Status Remove(int node) {
    return AskLeader([&](RawNode* leader) {
      return leader->RemoveMember(ProcessCluster::Name(node), false, &changed_);
    });
  }
  // `n1 n2 n4?`, as `node` knows; learners with a question mark.
  std::string MembersAt(int node) {
    v1::MembersResponse members;
    if (!nodes_[node]->Members(&members).ok()) return "no answer";
    std::string names;
    for (const v1::Member& member : members.members()) {
      names += (names.empty() ? "" : " ") + member.id() + (member.voter() ? "" : "?");
    }
    return names;
  }
  bool WaitForMembers(const std::vector<int>& nodes, const std::string& names) {
    return WaitUntil(seconds(60), [&] {
      return std::all_of(nodes.begin(), nodes.end(),
                         [&](int node) { return MembersAt(node) == names; });
    });
  }
  // As the node itself knows.
  bool WaitForVoter(int node) {
    const std::string name = " " + ProcessCluster::Name(node) + " ";
    return WaitUntil(seconds(60),
                     [&] { return (" " + MembersAt(node) + " ").find(name) != std::string::npos; });
  }
  // These voters, in the order of MembersAt.
  static std::string Sorted(const std::vector<int>& nodes) {
    std::vector<std::string> names;
    for (const int node : nodes) names.push_back(ProcessCluster::Name(node));
    std::sort(names.begin(), names.end());
    std::string joined;
    for (const std::string& name : names) joined += (joined.empty() ? "" : " ") + name;
    return joined;
  }
  bool WaitForLog(int node, const std::string& words) {
    return WaitUntil(seconds(30),
                     [&] { return cluster.Log(node).find(words) != std::string::npos; });
  }

  ProcessCluster cluster;

 private:
  std::vector<std::unique_ptr<RawNode>> nodes_;
  v1::ChangeResponse changed_;
};

#define ASSERT_OK(expression)                           \
  do {                                                  \
    const grpc::Status status = (expression);           \
    ASSERT_TRUE(status.ok()) << status.error_message(); \
  } while (false)

// The life of a cluster: from one node to five, then every one of them is replaced, and at last
// there are three of the new ones. The log is kept for so little that each begins with a snapshot.
TEST(MembershipTest, GrowsToFiveIsReplacedNodeByNodeAndShrinksToThreeUnderLoad) {
  MemberCluster members(1, 9, {"--log-retention-bytes", "1000000"});
  ASSERT_EQ(members.cluster.WaitForLeader(), 0);
  const auto client = members.cluster.NewClient();
  for (int i = 0; i < kManyValues; ++i) {
    const auto put = client->Put("many/" + std::to_string(i), std::string(16 << 10, 'v'));
    ASSERT_TRUE(put.ok()) << put.status();
  }
  CheckedLoad load({members.cluster.Address(0)}, "load/");
  const auto add = [&](int node) {
    ASSERT_TRUE(load.WaitForMore(kSomeWrites));
    ASSERT_OK(members.Add(node));
    members.cluster.Start(node);
    ASSERT_TRUE(members.WaitForVoter(node)) << members.MembersAt(node);
    EXPECT_TRUE(members.WaitForLog(node, "the log begins anew after the snapshot"));
  };
  const auto remove = [&](int node) {
    ASSERT_OK(members.Remove(node));
    members.cluster.Kill(node);
    ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  };
  for (int node = 1; node <= 4; ++node) ASSERT_NO_FATAL_FAILURE(add(node));
  for (int node = 0; node <= 4; ++node) {
    ASSERT_NO_FATAL_FAILURE(add(node + 5));
    ASSERT_NO_FATAL_FAILURE(remove(node));
  }
  for (int node = 5; node <= 6; ++node) ASSERT_NO_FATAL_FAILURE(remove(node));
  EXPECT_TRUE(members.WaitForMembers({7, 8, 9}, members.Sorted({7, 8, 9})));
  load.Stop();
  load.ExpectOn(
      {members.cluster.Address(7), members.cluster.Address(8), members.cluster.Address(9)});
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
}

TEST(MembershipTest, TheLeaderCanBeRemoved) {
  MemberCluster members(3, 0);
  const int leader = members.cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const std::vector<int> others = members.cluster.Others(leader);
  CheckedLoad load({members.cluster.Address(others[0]), members.cluster.Address(others[1])},
                   "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const auto removed_at = steady_clock::now();
  ASSERT_OK(members.Remove(leader));
  ASSERT_TRUE(load.WaitForMore(64));
  const auto pause = steady_clock::now() - removed_at;
  std::printf("the next 64 writes after %lld ms\n",
              static_cast<long long>(std::chrono::duration_cast<milliseconds>(pause).count()));
  EXPECT_TRUE(members.WaitForLog(leader, " is not a member of this cluster (any more)"));
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const int next = members.cluster.WaitForLeader();
  EXPECT_TRUE(next == others[0] || next == others[1]);
  load.Stop();
  load.ExpectOnEveryNode();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
  EXPECT_TRUE(load.record().unknown.empty()) << load.record().unknown.begin()->second;
}

TEST(MembershipTest, ARemovedNodeThatRunsOnDisturbsNobody) {
  MemberCluster members(3, 0);
  const int leader = members.cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int removed = members.cluster.Others(leader).front();
  const int stays = members.cluster.Others(leader).back();
  ASSERT_OK(members.Remove(removed));
  v1::StatusResponse before;
  ASSERT_OK(members.raw(leader).Status(&before));
  // It is told why by everybody, and looks for a leader in vain.
  ASSERT_TRUE(members.WaitForLog(
      removed, ProcessCluster::Name(removed) + " is not a member of this cluster (any more)"));
  ASSERT_TRUE(members.WaitForLog(removed, "role=pre-candidate"));
  v1::PutResponse put;
  ASSERT_OK(members.raw(leader).Put(PutOf("k", "v", v1::ALL), &put));
  EXPECT_EQ(put.reached(), v1::ALL);
  v1::StatusResponse after;
  ASSERT_OK(members.raw(stays).Status(&after));
  EXPECT_EQ(after.term(), before.term());
  EXPECT_EQ(after.leader_id(), ProcessCluster::Name(leader));
}

TEST(MembershipTest, ADeadNodeIsReplacedAndItsAddressUsedAgain) {
  MemberCluster members(3, 0);
  ASSERT_GE(members.cluster.WaitForLeader(), 0);
  CheckedLoad load(members.cluster, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const int dead = members.cluster.Others(members.cluster.WaitForLeader()).front();
  const std::string name = ProcessCluster::Name(dead);
  ASSERT_TRUE(members.WaitForLog(dead, name + " has shown its data directory"));
  members.cluster.Kill(dead);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));

  // Wiped, it is refused: by a cluster that it asks, and on both sides if it does not ask.
  std::filesystem::remove_all(members.cluster.DataDirectory(dead));
  members.cluster.Start(dead);
  ASSERT_TRUE(members.WaitForLog(dead, "its promises are lost"));
  for (const int node : members.cluster.Others(dead)) {
    EXPECT_TRUE(members.WaitForLog(node, "refused the stream of " + name)) << node;
  }
  members.cluster.Kill(dead);
  members.cluster.StartAnew(dead);
  EXPECT_EQ(members.cluster.process(dead).WaitForEnd(seconds(30)), 2);
  EXPECT_TRUE(members.WaitForLog(dead, "skein member remove " + name + "; skein member add"));

  // Removed and added again, it may come with any directory.
  ASSERT_OK(members.Remove(dead));
  ASSERT_OK(members.Add(dead));
  members.cluster.StartAnew(dead);
  EXPECT_TRUE(members.WaitForMembers({0, 1, 2}, "n1 n2 n3"));
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
  EXPECT_TRUE(load.record().unknown.empty()) << load.record().unknown.begin()->second;
}

// The removed node is still there, and knocks.
TEST(MembershipTest, AnotherNodeGetsTheAddressOfARemovedOne) {
  MemberCluster members(3, 1);
  ProcessCluster& cluster = members.cluster;
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int removed = (leader + 1) % 3;
  const int stays = (leader + 2) % 3;
  const std::string address = cluster.Address(removed);
  v1::ChangeResponse changed;
  const grpc::Status taken = members.raw(leader).AddMember("n4", address, true, &changed);
  EXPECT_EQ(taken.error_code(), grpc::StatusCode::ALREADY_EXISTS) << taken.error_message();
  ASSERT_OK(members.Remove(removed));
  ASSERT_OK(members.AskLeader(
      [&](RawNode* asked) { return asked->AddMember("n4", address, true, &changed); }));
  v1::StatusResponse before;
  ASSERT_OK(members.raw(leader).Status(&before));
  const std::string refused = "stop " + ProcessCluster::Name(removed) + " if it was removed";
  for (const int node : {leader, stays}) EXPECT_TRUE(members.WaitForLog(node, refused)) << node;
  ASSERT_TRUE(members.WaitForLog(removed, "role=pre-candidate"));
  v1::PutResponse put;
  ASSERT_OK(members.raw(leader).Put(PutOf("k", "v"), &put));
  v1::StatusResponse after;
  ASSERT_OK(members.raw(stays).Status(&after));
  EXPECT_EQ(after.term(), before.term());
  EXPECT_EQ(after.leader_id(), ProcessCluster::Name(leader));
  // Once it is gone the new one is found there, and counts: of the three voters one is down.
  cluster.Kill(removed);
  std::vector<std::string> command = cluster.Command(3);
  *(std::find(command.begin(), command.end(), "--listen") + 1) = address;
  Process fresh(command, cluster.directory().File("n4.log"));
  ASSERT_TRUE(WaitUntil(seconds(60), [&] {
    return members.MembersAt(leader).find("n4?") == std::string::npos;
  })) << fresh.Output();
  cluster.Kill(stays);
  ASSERT_OK(members.raw(leader).Put(PutOf("k", "w"), &put));
  v1::GetResponse got;
  ASSERT_OK(RawNode(address).Get(GetOf("k", v1::AT_LEAST, put.revision()), &got));
  EXPECT_EQ(got.value(), "w");
}

TEST(MembershipTest, OfTwoOperatorsAtOnceOneWinsAndTheOtherIsTold) {
  MemberCluster members(3, 2);
  const int leader = members.cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  for (int node = 0; node < 3; ++node) {
    ASSERT_TRUE(members.WaitForLog(leader, ProcessCluster::Name(node) + " has shown its data"));
  }
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    v1::MembersResponse now;
    return members.raw(leader).Members(&now).ok() && now.committed();
  }));
  for (const int node : members.cluster.Others(leader)) {
    if (node < 3) members.cluster.Pause(node);
  }
  grpc::Status first;
  std::thread other_operator([&] {
    v1::ChangeResponse changed;
    first = members.raw(leader).AddMember("n4", members.cluster.Address(3), false, &changed);
  });
  EXPECT_TRUE(WaitUntil(seconds(30), [&] { return members.MembersAt(leader) == "n1 n2 n3 n4?"; }));
  v1::ChangeResponse changed;
  const grpc::Status second =
      members.raw(leader).AddMember("n5", members.cluster.Address(4), false, &changed);
  for (const int node : members.cluster.Others(leader)) {
    if (node < 3) members.cluster.Resume(node);
  }
  other_operator.join();
  EXPECT_TRUE(first.ok()) << first.error_message();
  EXPECT_EQ(second.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << second.error_message();
  EXPECT_EQ(DetailIn(second).reason(), v1::MEMBERSHIP_REFUSED);
  EXPECT_TRUE(members.WaitForMembers({0, 1, 2}, "n1 n2 n3 n4?"));
}

// A node comes back to a cluster of which it knows nobody who still runs: whoever leads knows more
// than it does, and is followed.
TEST(MembershipTest, ANodeThatWasAwayFollowsALeaderItHasNeverHeardOf) {
  MemberCluster members(3, 2);
  ASSERT_GE(members.cluster.WaitForLeader(), 0);
  const int away = members.cluster.Others(members.cluster.WaitForLeader()).front();
  members.cluster.Kill(away);
  for (const int node : {3, 4}) {
    ASSERT_OK(members.Add(node));
    members.cluster.Start(node);
  }
  ASSERT_TRUE(members.WaitForMembers({3, 4}, "n1 n2 n3 n4 n5"));
  v1::TransferResponse handover;
  ASSERT_OK(members.AskLeader(
      [&](RawNode* leader) { return leader->TransferLeadership("n4", &handover); }));
  v1::PutResponse put;
  ASSERT_OK(members.raw(3).Put(PutOf("k", "v"), &put));
  for (int node = 0; node < 3; ++node) {
    if (node != away) members.cluster.Kill(node);
  }
  members.cluster.Start(away);
  // Two of the five are dead, so that its copy is needed.
  v1::PutResponse with_it;
  EXPECT_TRUE(WaitUntil(
      seconds(60), [&] { return members.raw(3).Put(PutOf("k", "w"), &with_it, seconds(5)).ok(); }));
  v1::GetResponse got;
  ASSERT_OK(members.raw(away).Get(GetOf("k", v1::AT_LEAST, with_it.revision()), &got));
  EXPECT_EQ(got.value(), "w");
  EXPECT_TRUE(members.WaitForMembers({away}, "n1 n2 n3 n4 n5"));
}

TEST(MembershipTest, AMemberMovesToAnotherAddress) {
  MemberCluster members(3, 1);
  const int leader = members.cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int moves = members.cluster.Others(leader).front();
  const std::string name = ProcessCluster::Name(moves);
  const std::string address = members.cluster.Address(3);  // of the spare, which does not run
  ASSERT_EQ(members.cluster.Terminate(moves, seconds(10)), 0);
  v1::ChangeResponse changed;
  ASSERT_OK(members.raw(leader).MoveMember(name, address, &changed));
  std::vector<std::string> command = members.cluster.Command(moves);
  *(std::find(command.begin(), command.end(), "--listen") + 1) = address;
  Process moved(command, members.cluster.directory().File("moved.log"));
  v1::PutResponse put;
  ASSERT_OK(members.raw(leader).Put(PutOf("k", "v", v1::ALL, 30'000), &put));
  EXPECT_EQ(put.reached(), v1::ALL);
  EXPECT_EQ(moved.Output().find("address_differs"), std::string::npos) << moved.Output();
  moved.Kill();
  // At the old one it says what is wrong.
  members.cluster.Start(moves);
  EXPECT_TRUE(members.WaitForLog(moves, "the cluster reaches " + name + " at " + address));
}

}  // namespace
}  // namespace skein
