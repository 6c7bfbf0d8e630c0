// What operators ask of a cluster, and every way in which it is refused.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/server/node_fixture.h"

namespace skein {
namespace {

using std::chrono::seconds;

std::string NamesOf(const v1::MembersResponse& members) {
  std::string names;
  for (const v1::Member& member : members.members()) {
    names += (names.empty() ? "" : " ") + member.id() + (member.voter() ? "" : "?");
  }
  return names;
}

class OperatorCallsTest : public ThreeNodesTest {
 protected:
  std::string Name(int node) { return LocalNodes::Name(node); }
  v1::MembersResponse Members(int node) {
    v1::MembersResponse members;
    EXPECT_TRUE(nodes_.raw(node).Members(&members).ok());
    return members;
  }
  // The cluster has seen every member's data directory.
  bool WaitForIncarnations() {
    return WaitUntil(seconds(30), [this] {
      for (int node = 0; node < nodes_.size(); ++node) {
        const v1::MembersResponse members = Members(node);
        if (!members.committed()) return false;
        for (const v1::Member& member : members.members()) {
          if (member.incarnation().empty()) return false;
        }
      }
      return true;
    });
  }
  static void ExpectRefused(const grpc::Status& status, grpc::StatusCode code,
                            v1::ErrorReason reason, const std::string& words) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(DetailIn(status).reason(), reason) << status.error_message();
    EXPECT_NE(status.error_message().find(words), std::string::npos) << status.error_message();
    EXPECT_FALSE(DetailIn(status).maybe_applied());
    EXPECT_EQ(DetailIn(status).hint().empty(), reason == v1::INVALID_FIELD);
  }

  FreePort spare_;
  v1::ChangeResponse changed_;
};

TEST_F(OperatorCallsTest, EveryNodeTellsWhoTheMembersAre) {
  ASSERT_TRUE(WaitForIncarnations());
  std::set<std::string> incarnations;
  for (int node = 0; node < nodes_.size(); ++node) {
    const v1::MembersResponse members = Members(node);
    EXPECT_EQ(members.node_id(), Name(node));
    EXPECT_EQ(members.cluster_token(), "skein");
    EXPECT_EQ(members.cluster_id().size(), 16u);
    EXPECT_TRUE(members.committed());
    EXPECT_GT(members.membership_index(), 0u);
    ASSERT_EQ(NamesOf(members), "n1 n2 n3");
    v1::StatusResponse status;
    ASSERT_TRUE(nodes_.raw(node).Status(&status).ok());
    EXPECT_EQ(members.members(node).incarnation(), status.incarnation());
    EXPECT_EQ(members.members(node).address(), nodes_.Address(node));
    incarnations.insert(status.incarnation());
  }
  EXPECT_EQ(incarnations.size(), 3u);
}

// The leader proposes what it has seen once, and then leaves the log alone.
TEST_F(OperatorCallsTest, EachDataDirectoryIsRecordedOnce) {
  ASSERT_TRUE(WaitForIncarnations());
  v1::StatusResponse before;
  ASSERT_TRUE(leader().Status(&before).ok());
  v1::TransferResponse handover;
  ASSERT_TRUE(leader().TransferLeadership(Name(followers_[0]), &handover).ok());
  v1::PutResponse put;
  ASSERT_TRUE(follower(0).Put(PutOf("k", "v", v1::ALL), &put).ok());
  v1::StatusResponse after;
  ASSERT_TRUE(follower(0).Status(&after).ok());
  EXPECT_EQ(after.last_index(), before.last_index() + 2);
}

TEST_F(OperatorCallsTest, MalformedRequestsAreRefused) {
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  RawNode& node = leader();
  ExpectRefused(node.AddMember("", "a:1", false, &changed_), invalid, v1::INVALID_FIELD, "name");
  ExpectRefused(node.AddMember("n 4", "a:1", false, &changed_), invalid, v1::INVALID_FIELD, "n 4");
  for (const char* address : {"", "nowhere", "host:", ":1", "host:0", "host:65536", "host:1x"}) {
    ExpectRefused(node.AddMember("n4", address, false, &changed_), invalid, v1::INVALID_FIELD,
                  "HOST:PORT");
    ExpectRefused(node.MoveMember("n1", address, &changed_), invalid, v1::INVALID_FIELD,
                  "HOST:PORT");
  }
  ExpectRefused(node.PromoteMember("", &changed_), invalid, v1::INVALID_FIELD, "name");
  ExpectRefused(node.RemoveMember("n/1", true, &changed_), invalid, v1::INVALID_FIELD, "n/1");
  ExpectRefused(node.MoveMember("", "a:1", &changed_), invalid, v1::INVALID_FIELD, "name");
  v1::TransferResponse handover;
  ExpectRefused(node.TransferLeadership("n 1", &handover), invalid, v1::INVALID_FIELD, "n 1");
  EXPECT_EQ(NamesOf(Members(leader_)), "n1 n2 n3");
}

TEST_F(OperatorCallsTest, UnknownNamesAreNotFound) {
  const auto expect = [](const grpc::Status& status) {
    ExpectRefused(status, grpc::StatusCode::NOT_FOUND, v1::MEMBERSHIP_REFUSED,
                  "n9 is not a member; the members are n1, n2, n3");
  };
  expect(leader().PromoteMember("n9", &changed_));
  expect(leader().RemoveMember("n9", false, &changed_));
  expect(leader().MoveMember("n9", "127.0.0.1:9", &changed_));
  v1::TransferResponse handover;
  expect(leader().TransferLeadership("n9", &handover));
}

TEST_F(OperatorCallsTest, WhatIsSoAlreadyIsRefused) {
  const auto exists = grpc::StatusCode::ALREADY_EXISTS;
  const std::string name = Name(followers_[0]);
  const std::string address = nodes_.Address(followers_[0]);
  ExpectRefused(leader().AddMember(name, spare_.address(), false, &changed_), exists,
                v1::MEMBERSHIP_REFUSED, name + " is a member already, at " + address);
  ExpectRefused(leader().AddMember("n4", address, false, &changed_), exists, v1::MEMBERSHIP_REFUSED,
                address + " is the address of " + name);
  ExpectRefused(leader().PromoteMember(name, &changed_), exists, v1::MEMBERSHIP_REFUSED,
                name + " is a voter already");
  ExpectRefused(leader().MoveMember(name, address, &changed_), exists, v1::MEMBERSHIP_REFUSED,
                name + " is at " + address + " already");
  ExpectRefused(leader().MoveMember(name, nodes_.Address(leader_), &changed_), exists,
                v1::MEMBERSHIP_REFUSED, "is the address of " + Name(leader_));
  v1::TransferResponse handover;
  ExpectRefused(leader().TransferLeadership(Name(leader_), &handover), exists,
                v1::MEMBERSHIP_REFUSED, Name(leader_) + " leads already");
}

TEST_F(OperatorCallsTest, AFollowerNamesTheLeader) {
  v1::TransferResponse handover;
  for (const grpc::Status& status : {follower().AddMember("n4", spare_.address(), true, &changed_),
                                     follower().PromoteMember("n9", &changed_),
                                     follower().RemoveMember(Name(leader_), true, &changed_),
                                     follower().MoveMember("n1", spare_.address(), &changed_),
                                     follower().TransferLeadership("", &handover)}) {
    ExpectRefused(status, grpc::StatusCode::UNAVAILABLE, v1::NOT_LEADER,
                  " is not the leader, " + Name(leader_) + " is");
    EXPECT_EQ(DetailIn(status).leader_id(), Name(leader_));
    EXPECT_EQ(DetailIn(status).leader_address(), nodes_.Address(leader_));
  }
}

TEST_F(OperatorCallsTest, AMemberIsAddedMovedAndRemoved) {
  ASSERT_TRUE(leader().AddMember("n4", spare_.address(), false, &changed_).ok());
  EXPECT_EQ(NamesOf(changed_.members()), "n1 n2 n3 n4?");
  EXPECT_TRUE(changed_.members().committed());
  EXPECT_EQ(changed_.members().members(3).address(), spare_.address());
  const uint64_t added_at = changed_.members().membership_index();
  const FreePort other;
  ASSERT_TRUE(leader().MoveMember("n4", other.address(), &changed_).ok());
  EXPECT_EQ(changed_.members().members(3).address(), other.address());
  EXPECT_GT(changed_.members().membership_index(), added_at);
  for (int node = 0; node < nodes_.size(); ++node) {
    EXPECT_TRUE(WaitUntil(seconds(30), [&] {
      const v1::MembersResponse members = Members(node);
      return members.members_size() == 4 && members.members(3).address() == other.address();
    }));
  }
  ExpectRefused(leader().PromoteMember("n4", &changed_), grpc::StatusCode::FAILED_PRECONDITION,
                v1::MEMBERSHIP_REFUSED, "n4 has not joined yet");
  v1::TransferResponse handover;
  ExpectRefused(leader().TransferLeadership("n4", &handover), grpc::StatusCode::FAILED_PRECONDITION,
                v1::MEMBERSHIP_REFUSED, "n4 is not a voter");
  ASSERT_TRUE(leader().RemoveMember("n4", false, &changed_).ok());
  EXPECT_EQ(NamesOf(changed_.members()), "n1 n2 n3");
}

TEST_F(OperatorCallsTest, ARemovalThatLeavesNoQuorumIsRefusedUnlessForced) {
  ASSERT_TRUE(WaitForIncarnations());
  nodes_.Stop(followers_[0]);
  const std::string gone = Name(followers_[0]);
  const std::string other = Name(followers_[1]);
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    v1::StatusResponse status;
    return leader().Status(&status).ok() && !MemberIn(status, gone).connected();
  }));
  ExpectRefused(leader().RemoveMember(other, false, &changed_),
                grpc::StatusCode::FAILED_PRECONDITION, v1::MEMBERSHIP_REFUSED,
                "without " + other + " only 1 of 2 voters can be reached");
  // Nor the leader, which goes on leading as if it had not been asked.
  v1::StatusResponse before;
  ASSERT_TRUE(leader().Status(&before).ok());
  ExpectRefused(leader().RemoveMember(Name(leader_), false, &changed_),
                grpc::StatusCode::FAILED_PRECONDITION, v1::MEMBERSHIP_REFUSED,
                "without " + Name(leader_) + " only 1 of 2 voters can be reached");
  v1::StatusResponse after;
  ASSERT_TRUE(leader().Status(&after).ok());
  EXPECT_EQ(after.role(), v1::ROLE_LEADER);
  EXPECT_EQ(after.term(), before.term());
  // The one that is dead may go: those that are left are a quorum.
  ASSERT_TRUE(leader().RemoveMember(gone, false, &changed_).ok());
  ASSERT_TRUE(leader().RemoveMember(other, false, &changed_).ok());
  ExpectRefused(leader().RemoveMember(Name(leader_), true, &changed_),
                grpc::StatusCode::FAILED_PRECONDITION, v1::MEMBERSHIP_REFUSED, "is the last voter");
  v1::PutResponse put;
  EXPECT_TRUE(leader().Put(PutOf("k", "alone"), &put).ok());
}

TEST_F(OperatorCallsTest, AForcedRemovalTakesEffectOnceEnoughAreBack) {
  ASSERT_TRUE(WaitForIncarnations());
  const auto [back, removed] = std::pair(followers_[0], followers_[1]);
  nodes_.StopAtOnce(back);
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    v1::StatusResponse status;
    return leader().Status(&status).ok() && !MemberIn(status, Name(back)).connected();
  }));
  EXPECT_FALSE(leader().RemoveMember(Name(removed), true, &changed_).ok());
  nodes_.StopAtOnce(removed);  // it and the other could still undo the change
  nodes_.Start(back);
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    const v1::MembersResponse members = Members(leader_);
    return members.committed() && members.members_size() == 2;
  }));
  EXPECT_EQ(NamesOf(Members(leader_)).find(Name(removed)), std::string::npos);
  ASSERT_TRUE(nodes_.WaitForLeader() >= 0);
}

// A change waits for those that the leader makes by itself, and is never told of them.
TEST_F(OperatorCallsTest, ChangesThatComeAtOnceEndInOrder) {
  constexpr int kOperators = 8;
  std::vector<FreePort> ports(kOperators);
  std::vector<grpc::Status> answers(kOperators);
  std::vector<std::thread> operators;
  for (int i = 0; i < kOperators; ++i) {
    operators.emplace_back([&, i] {
      v1::ChangeResponse changed;
      answers[i] = leader().AddMember("m" + std::to_string(i), ports[i].address(), false, &changed);
    });
  }
  for (std::thread& each : operators) each.join();
  std::string expected = "m";
  int added = 0;
  const v1::MembersResponse members = Members(leader_);
  for (int i = 0; i < kOperators; ++i) {
    const bool there = NamesOf(members).find("m" + std::to_string(i)) != std::string::npos;
    EXPECT_EQ(there, answers[i].ok()) << answers[i].error_message();
    added += there ? 1 : 0;
    if (answers[i].ok()) continue;
    ExpectRefused(answers[i], grpc::StatusCode::FAILED_PRECONDITION, v1::MEMBERSHIP_REFUSED,
                  "another change of the membership is not committed yet");
  }
  EXPECT_GE(added, 1);
}

TEST_F(OperatorCallsTest, LeadershipGoesToWhomItIsHandedTo) {
  const std::string target = Name(followers_[1]);
  v1::TransferResponse handover;
  // A leader that has just won does not know yet how far the others are.
  grpc::Status status;
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    status = leader().TransferLeadership(target, &handover);
    return status.ok();
  })) << status.error_message();
  EXPECT_EQ(handover.leader_id(), target);
  EXPECT_GT(handover.pause_us(), 0u);
  v1::StatusResponse of_target;
  ASSERT_TRUE(follower(1).Status(&of_target).ok());
  EXPECT_EQ(of_target.role(), v1::ROLE_LEADER);
  EXPECT_EQ(of_target.term(), handover.term());
  // And on, to anybody.
  v1::TransferResponse again;
  ASSERT_TRUE(
      WaitUntil(seconds(30), [&] { return follower(1).TransferLeadership("", &again).ok(); }));
  EXPECT_NE(again.leader_id(), target);
  EXPECT_GT(again.term(), handover.term());
}

TEST_F(OperatorCallsTest, LeadershipCannotBeHandedToWhoIsNotThere) {
  nodes_.Stop(followers_[0]);
  v1::TransferResponse handover;
  const grpc::Status status = leader().TransferLeadership(Name(followers_[0]), &handover);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(DetailIn(status).reason(), v1::MEMBERSHIP_REFUSED) << status.error_message();
  v1::PutResponse put;
  EXPECT_TRUE(leader().Put(PutOf("k", "v"), &put).ok());
}

TEST_F(OperatorCallsTest, CallsThatComeWhileTheNodeStopsAreAnswered) {
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      RawNode node(nodes_.Address(leader_));
      while (!stop) {
        v1::ChangeResponse changed;
        v1::TransferResponse handover;
        v1::MembersResponse members;
        if (i == 0) node.AddMember("n4", spare_.address(), false, &changed);
        if (i == 1) node.RemoveMember("n4", false, &changed);
        if (i == 2) node.TransferLeadership("", &handover);
        if (i == 3) node.Members(&members);
        ++answered;
      }
    });
  }
  for (int round = 0; round < 5; ++round) {
    const int before = answered;
    EXPECT_TRUE(WaitUntil(seconds(30), [&] { return answered >= before + 100; }));
    const auto began = std::chrono::steady_clock::now();
    nodes_.Stop(leader_);
    EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(5));
    nodes_.Start(leader_);
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace skein
