// Changes of the membership as a function, and who is listened to. What a leader refuses on top of
// it is in the stories.
#include "replication/core/membership_change.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

Membership Three() {
  Membership membership;
  for (uint64_t i = 1; i <= 3; ++i) {
    const std::string name = "n" + std::to_string(i);
    membership.members.push_back({NodeId(i * 10), name, name + ":1", /*voter=*/i < 3});
  }
  return membership;
}

TEST(MembershipChange, AddsLearnersInOrder) {
  const auto next = ChangeMembership(Three(), AddLearner{NodeId(15), "n9", "n9:1", true});
  ASSERT_TRUE(next.ok()) << next.status();
  ASSERT_EQ(next->members.size(), 4u);
  EXPECT_EQ(next->members[1].name, "n9");
  EXPECT_FALSE(next->members[1].voter);
  EXPECT_TRUE(next->members[1].promote_when_level);
  EXPECT_EQ(next->QuorumSize(), Three().QuorumSize());
}

TEST(MembershipChange, RefusesWhatIsTakenOrMissing) {
  const auto code = [](const MembershipChange& change) {
    return ChangeMembership(Three(), change).status().code();
  };
  using absl::StatusCode;
  EXPECT_EQ(code(AddLearner{NodeId(10), "n1", "other:1"}), StatusCode::kAlreadyExists);
  EXPECT_EQ(code(AddLearner{NodeId(40), "n4", "n2:1"}), StatusCode::kAlreadyExists);
  EXPECT_EQ(code(PromoteMember{NodeId(40)}), StatusCode::kNotFound);
  EXPECT_EQ(code(PromoteMember{NodeId(10)}), StatusCode::kAlreadyExists);
  EXPECT_EQ(code(RemoveMember{NodeId(40)}), StatusCode::kNotFound);
  EXPECT_EQ(code(MoveMember{NodeId(10), "n2:1"}), StatusCode::kAlreadyExists);
  EXPECT_EQ(code(MoveMember{NodeId(10), "n1:1"}), StatusCode::kAlreadyExists);
  EXPECT_EQ(code(MoveMember{NodeId(40), "n4:1"}), StatusCode::kNotFound);
  EXPECT_EQ(code(RecordIncarnation{NodeId(40), 1}), StatusCode::kNotFound);
}

TEST(MembershipChange, KeepsTheLastVoter) {
  const auto two = ChangeMembership(Three(), RemoveMember{NodeId(10)});
  ASSERT_TRUE(two.ok());
  EXPECT_EQ(two->VoterCount(), 1u);
  const auto none = ChangeMembership(*two, RemoveMember{NodeId(20), /*force=*/true});
  EXPECT_TRUE(absl::IsFailedPrecondition(none.status())) << none.status();
  EXPECT_TRUE(ChangeMembership(*two, RemoveMember{NodeId(30)}).ok());
}

TEST(MembershipChange, PromotesMovesAndRecords) {
  auto next = ChangeMembership(Three(), PromoteMember{NodeId(30)});
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->VoterCount(), 3u);
  next = ChangeMembership(*next, MoveMember{NodeId(30), "far:2"});
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->Find(NodeId(30))->address, "far:2");
  next = ChangeMembership(*next, RecordIncarnation{NodeId(30), 77});
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->Find(NodeId(30))->incarnation, 77u);
  EXPECT_FALSE(ChangeMembership(*next, RecordIncarnation{NodeId(30), 78}).ok());
}

TEST(MembershipChange, AMemberThatNeverVotesIsNotPromoted) {
  AddLearner add{NodeId(40), "n4", "n4:1"};
  add.never_votes = true;
  add.promote_when_level = true;
  EXPECT_TRUE(absl::IsFailedPrecondition(ChangeMembership(Three(), add).status()));
  add.promote_when_level = false;
  const auto next = ChangeMembership(Three(), add);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE(next->Find(NodeId(40))->never_votes);
  const absl::Status promoted = ChangeMembership(*next, PromoteMember{NodeId(40)}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(promoted));
  EXPECT_NE(promoted.message().find("a learner for good"), std::string::npos);
}

TEST(MembershipChange, UpstreamsAreSetTakenBackAndGoWithTheirMember) {
  AddLearner add{NodeId(40), "n4", "n4:1"};
  add.upstream = NodeId(20);
  auto next = ChangeMembership(Three(), add);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->Find(NodeId(40))->upstream, NodeId(20));
  next = ChangeMembership(*next, SetUpstream{NodeId(30), NodeId(20)});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(ChangeMembership(*next, SetUpstream{NodeId(30), NodeId(20)}).status().code(),
            absl::StatusCode::kAlreadyExists);
  next = ChangeMembership(*next, SetUpstream{NodeId(30), NodeId()});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->Find(NodeId(30))->upstream, NodeId());
  next = ChangeMembership(*next, RemoveMember{NodeId(20)});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->Find(NodeId(40))->upstream, NodeId());
}

TEST(MembershipChange, UpstreamsAreMembersAndGoInNoCircle) {
  const auto code = [](const Membership& now, const MembershipChange& change) {
    return ChangeMembership(now, change).status().code();
  };
  using absl::StatusCode;
  EXPECT_EQ(code(Three(), SetUpstream{NodeId(30), NodeId(40)}), StatusCode::kNotFound);
  EXPECT_EQ(code(Three(), SetUpstream{NodeId(40), NodeId(10)}), StatusCode::kNotFound);
  EXPECT_EQ(code(Three(), SetUpstream{NodeId(30), NodeId(30)}), StatusCode::kFailedPrecondition);
  AddLearner add{NodeId(40), "n4", "n4:1"};
  add.upstream = NodeId(40);
  EXPECT_EQ(code(Three(), add), StatusCode::kNotFound);
  auto chain = ChangeMembership(Three(), SetUpstream{NodeId(30), NodeId(20)});
  ASSERT_TRUE(chain.ok());
  chain = ChangeMembership(*chain, SetUpstream{NodeId(20), NodeId(10)});
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_EQ(code(*chain, SetUpstream{NodeId(10), NodeId(30)}), StatusCode::kFailedPrecondition);
  EXPECT_EQ(code(*chain, SetUpstream{NodeId(10), NodeId(20)}), StatusCode::kFailedPrecondition);
}

// R27: a membership without what version 2 has brought is written as version 1 did.
TEST(MembershipChange, OnlyUpstreamsAndMembersThatNeverVoteNeedVersion2) {
  Membership membership = Three();
  const std::string first = EncodeMembership(membership);
  EXPECT_EQ(membership.RequiredVersion(), 1u);
  membership.members[2].upstream = NodeId(10);
  EXPECT_EQ(membership.RequiredVersion(), 2u);
  EXPECT_EQ(EncodeMembership(membership).size(), first.size() + 8);
  membership.members[2].upstream = NodeId();
  membership.members[2].never_votes = true;
  EXPECT_EQ(membership.RequiredVersion(), 2u);
  EXPECT_EQ(EncodeMembership(membership).size(), first.size());
}

// R27: the entries that needed it stay in the log for a while.
TEST(MembershipChange, AVersionThatWasNeededOnceStaysSo) {
  auto next = ChangeMembership(Three(), SetUpstream{NodeId(30), NodeId(10)});
  ASSERT_TRUE(next.ok());
  next = ChangeMembership(*next, SetUpstream{NodeId(30), NodeId()});
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->RequiredVersion(), 2u);
  Membership decoded;
  ASSERT_TRUE(DecodeMembership(EncodeMembership(*next), &decoded));
  EXPECT_EQ(decoded, *next);
  EXPECT_EQ(decoded.RequiredVersion(), 2u);
}

TEST(MembershipChange, WhoSpeaksTooOldAVersionIsRefused) {
  Membership membership = Three();
  const MembershipsInForce before{{Index(5), membership}, {Index(5), membership}};
  EXPECT_EQ(RefuseSender(before, {NodeId(20), "n2", 7, Index(5), 1}), "");
  membership.members[2].upstream = NodeId(10);
  const MembershipsInForce after{{Index(5), membership}, {Index(5), membership}};
  EXPECT_EQ(RefuseSender(after, {NodeId(20), "n2", 7, Index(5), 2}), "");
  const std::string refusal = RefuseSender(after, {NodeId(20), "n2", 7, Index(9), 1});
  EXPECT_NE(refusal.find("upgrade n2"), std::string::npos) << refusal;
}

TEST(MembershipChange, SurvivesItsEncoding) {
  Membership membership = Three();
  membership.members[0].incarnation = ~0ull;
  membership.members[2].promote_when_level = true;
  membership.members[1].never_votes = true;
  membership.members[1].upstream = NodeId(10);
  membership.members[0].upstream = NodeId(30);
  Membership decoded;
  ASSERT_TRUE(DecodeMembership(EncodeMembership(membership), &decoded));
  EXPECT_EQ(decoded, membership);
  std::string cut = EncodeMembership(membership);
  cut.pop_back();
  EXPECT_FALSE(DecodeMembership(cut, &decoded));
}

// Written before members had incarnations: a flag of 0 or 1.
TEST(MembershipChange, ReadsWhatThePreviousFormatWrote) {
  const std::string old =
      std::string("\x01") + std::string("\x0a\0\0\0\0\0\0\0", 8) + "\x02n1\x04n1:1\x01";
  Membership decoded;
  ASSERT_TRUE(DecodeMembership(old, &decoded));
  ASSERT_EQ(decoded.members.size(), 1u);
  EXPECT_EQ(decoded.members[0], (Member{NodeId(10), "n1", "n1:1", true}));
}

MembershipsInForce InForce(uint64_t index, uint64_t incarnation_of_n2) {
  Membership membership = Three();
  membership.members[1].incarnation = incarnation_of_n2;
  return {{Index(index), membership}, {Index(index), membership}};
}

TEST(MembershipChange, WhoComesWithAnotherDirectoryIsRefused) {
  EXPECT_EQ(RefuseSender(InForce(5, 7), {NodeId(20), "n2", 7, Index(5)}), "");
  EXPECT_NE(RefuseSender(InForce(5, 7), {NodeId(20), "n2", 8, Index(5)}), "");
  // Nobody has seen it yet.
  EXPECT_EQ(RefuseSender(InForce(5, 0), {NodeId(20), "n2", 8, Index(5)}), "");
}

TEST(MembershipChange, WhoIsNoMemberIsRefused) {
  EXPECT_NE(RefuseSender(InForce(5, 7), {NodeId(40), "n4", 1, Index(5)}), "");
  EXPECT_NE(RefuseSender(InForce(5, 7), {NodeId(40), "n4", 1, Index(4)}), "");
}

// It was added, or removed and added again, since.
TEST(MembershipChange, WhoKnowsANewerMembershipIsListenedTo) {
  EXPECT_EQ(RefuseSender(InForce(5, 7), {NodeId(40), "n4", 1, Index(6)}), "");
  EXPECT_EQ(RefuseSender(InForce(5, 7), {NodeId(20), "n2", 8, Index(6)}), "");
}

// Its removal is not certain yet: it leads until it is.
TEST(MembershipChange, WhoIsRemovedButNotYetForCertainIsListenedTo) {
  MembershipsInForce mine = InForce(5, 7);
  mine.newest.index = Index(6);
  std::erase_if(mine.newest.membership.members,
                [](const Member& member) { return member.id == NodeId(20); });
  EXPECT_EQ(RefuseSender(mine, {NodeId(20), "n2", 7, Index(6)}), "");
  mine.committed = mine.newest;
  EXPECT_NE(RefuseSender(mine, {NodeId(20), "n2", 7, Index(6)}), "");
}

}  // namespace
}  // namespace skein
