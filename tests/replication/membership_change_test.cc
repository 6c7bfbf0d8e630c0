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

TEST(MembershipChange, SurvivesItsEncoding) {
  Membership membership = Three();
  membership.members[0].incarnation = ~0ull;
  membership.members[2].promote_when_level = true;
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
