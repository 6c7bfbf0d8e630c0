#include "client/cluster_view.h"

#include <gtest/gtest.h>

namespace skein::client {
namespace {

TEST(ClusterViewTest, OneEndpointLearnsTheOthers) {
  ClusterView view({"a:1"});
  view.Observe(0, {.node_id = "n2", .leader_id = "n1", .term = Term(3)});
  EXPECT_EQ(view.Leader(), std::nullopt) << "no address of n1 is known yet";
  view.ObserveMembers({{{"n1", "a:0"}, {"n2", "a:1"}, {"n3", "a:2"}}});
  ASSERT_EQ(view.size(), 3u);
  ASSERT_TRUE(view.Leader().has_value());
  EXPECT_EQ(view.node(*view.Leader()).address, "a:0");
  EXPECT_EQ(view.node(0).id, "n2");
}

TEST(ClusterViewTest, WithoutDiscoveryNoNodeIsAdded) {
  ClusterView view({"a:1"}, /*discover=*/false);
  view.Observe(0, {.node_id = "n2", .leader_id = "n1", .term = Term(3)});
  view.ObserveMembers({{{"n1", "a:0"}, {"n2", "a:1"}}});
  EXPECT_EQ(view.ObserveLeaderHint("n1", "a:0", Term(3)), std::nullopt);
  EXPECT_EQ(view.size(), 1u);
  EXPECT_TRUE(view.Usable(0));
  EXPECT_EQ(view.node(0).advertised, "a:1") << "what is told of the endpoints themselves counts";
}

TEST(ClusterViewTest, WithoutDiscoveryANodeIsTriedOnlyWhereItWasNamed) {
  for (const bool discover : {true, false}) {
    ClusterView view({"a:1"}, discover);
    view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(3)});
    view.ObserveMembers({{{"n1", "inside:1"}}});
    view.MarkDown(0);
    EXPECT_EQ(view.node(0).address, discover ? "inside:1" : "a:1");
    view.MarkDown(0);
    EXPECT_EQ(view.node(0).address, "a:1");
  }
}

TEST(ClusterViewTest, TheNewestTermWins) {
  ClusterView view({"a:1", "a:2"});
  view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(5)});
  EXPECT_TRUE(view.Observe(1, {.node_id = "n2", .leader_id = "n2", .term = Term(6)}));
  EXPECT_EQ(view.Leader(), 1u);
  EXPECT_FALSE(view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(5)}));
  EXPECT_EQ(view.Leader(), 1u);
}

TEST(ClusterViewTest, AnElectionUnseatsTheOldLeader) {
  ClusterView view({"a:1", "a:2"});
  view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(5)});
  view.Observe(1, {.node_id = "n2", .leader_id = "", .term = Term(6)});
  EXPECT_EQ(view.Leader(), std::nullopt);
  view.Observe(1, {.node_id = "n2", .leader_id = "n2", .term = Term(6)});
  EXPECT_EQ(view.Leader(), 1u);
}

TEST(ClusterViewTest, ANodeKnowsBestWhetherItLeads) {
  ClusterView view({"a:1", "a:2"});
  view.Observe(0, {.node_id = "n1", .leader_id = "n2", .term = Term(5)});
  view.Observe(1, {.node_id = "n2", .leader_id = "", .term = Term(5)});
  EXPECT_EQ(view.Leader(), std::nullopt) << "n2 says that it does not lead";
  view.Observe(1, {.node_id = "n2", .leader_id = "n2", .term = Term(5)});
  EXPECT_EQ(view.Leader(), 1u);
  view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(5)});
  EXPECT_EQ(view.Leader(), 0u) << "n1's own word is newer than n2's";
}

TEST(ClusterViewTest, AHintNamesANodeThatWasUnknown) {
  ClusterView view({"a:1"});
  view.Observe(0, {.node_id = "n1", .term = Term(2)});
  const auto slot = view.ObserveLeaderHint("n9", "a:9", Term(2));
  ASSERT_TRUE(slot.has_value());
  EXPECT_EQ(view.Leader(), slot);
  EXPECT_EQ(view.node(*slot).address, "a:9");
  EXPECT_EQ(view.ObserveLeaderHint("n8", "a:8", Term(1)), std::nullopt) << "an older term";
}

TEST(ClusterViewTest, ASecondAddressOfANodeIsNoSecondNode) {
  ClusterView view({"localhost:1", "127.0.0.1:1"});
  view.Observe(0, {.node_id = "n1", .term = Term(1)});
  view.Observe(1, {.node_id = "n1", .term = Term(1)});
  EXPECT_TRUE(view.Usable(0));
  EXPECT_FALSE(view.Usable(1));
}

TEST(ClusterViewTest, ARemovedNodeIsNotUsed) {
  ClusterView view({"a:1", "a:2"});
  view.Observe(0, {.node_id = "n1", .term = Term(1)});
  view.Observe(1, {.node_id = "n2", .term = Term(1)});
  view.ObserveMembers({{{"n1", "a:1"}}});
  EXPECT_TRUE(view.Usable(0));
  EXPECT_FALSE(view.Usable(1));
}

TEST(ClusterViewTest, ADownNodeIsTriedAtItsOtherAddress) {
  ClusterView view({"outside:1"});
  view.Observe(0, {.node_id = "n1", .term = Term(1)});
  view.ObserveMembers({{{"n1", "inside:1"}}});
  EXPECT_EQ(view.node(0).address, "outside:1") << "what works is kept";
  view.MarkDown(0);
  EXPECT_EQ(view.node(0).address, "inside:1");
  view.MarkDown(0);
  EXPECT_EQ(view.node(0).address, "outside:1");
}

// Three members with slots 0 to 2, of which the user has named n1.
ClusterView OneNamed() {
  ClusterView view({"a:1"});
  view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(1)});
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "a:2"}, {"n3", "a:3"}}, Index(10)});
  return view;
}

TEST(ClusterViewTest, ARemovedNodeIsForgottenUnlessTheUserHasNamedIt) {
  ClusterView view = OneNamed();
  view.ObserveMembers({{{"n3", "a:3"}, {"n4", "a:4"}}, Index(20)});
  EXPECT_FALSE(view.Usable(0));
  EXPECT_TRUE(view.Asked(0)) << "the address that the user has named";
  EXPECT_FALSE(view.Usable(1));
  EXPECT_FALSE(view.Asked(1));
  EXPECT_TRUE(view.Usable(2));
  ASSERT_EQ(view.size(), 4u);
  EXPECT_EQ(view.node(3).id, "n4");
  EXPECT_TRUE(view.Usable(3));
}

TEST(ClusterViewTest, ANodeThatComesBackIsUsedAgain) {
  ClusterView view = OneNamed();
  view.ObserveMembers({{{"n1", "a:1"}, {"n3", "a:3"}}, Index(20)});
  EXPECT_FALSE(view.Usable(1));
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "b:2", false}, {"n3", "a:3"}}, Index(30)});
  EXPECT_TRUE(view.Usable(1));
  EXPECT_FALSE(view.node(1).voter);
  EXPECT_EQ(view.size(), 3u);
}

TEST(ClusterViewTest, AnOldMemberListDoesNotBringBackTheRemoved) {
  ClusterView view = OneNamed();
  view.ObserveMembers({{{"n1", "a:1"}, {"n3", "a:3"}}, Index(20)});
  // From n2 itself, which does not know yet.
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "a:2"}, {"n3", "a:3"}}, Index(10)});
  EXPECT_FALSE(view.Usable(1));
  // It was added again.
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "a:2"}, {"n3", "a:3"}}, Index(30)});
  EXPECT_TRUE(view.Usable(1));
}

TEST(ClusterViewTest, AMovedNodeIsFollowedOnceItsOldAddressFails) {
  ClusterView view = OneNamed();
  view.Observe(1, {.node_id = "n2", .term = Term(1)});
  view.ObserveMembers({{{"n1", "b:1"}, {"n2", "b:2"}, {"n3", "a:3"}}, Index(20)});
  EXPECT_EQ(view.node(1).address, "a:2") << "what works is kept";
  view.MarkDown(1);
  EXPECT_EQ(view.node(1).address, "b:2");
  view.MarkDown(1);
  EXPECT_EQ(view.node(1).address, "b:2") << "nothing leads back to the old one";
  view.MarkDown(0);
  EXPECT_EQ(view.node(0).address, "b:1");
  view.MarkDown(0);
  EXPECT_EQ(view.node(0).address, "a:1") << "the user may know a way that the cluster does not";
}

TEST(ClusterViewTest, ANodeThatIsDownIsAtOnceTriedWhereItHasMoved) {
  ClusterView view = OneNamed();
  view.MarkDown(1);
  EXPECT_EQ(view.node(1).address, "a:2");
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "b:2"}, {"n3", "a:3"}}, Index(20)});
  EXPECT_EQ(view.node(1).address, "b:2");
}

TEST(ClusterViewTest, TheAddressOfARemovedNodeMayBelongToItsSuccessor) {
  ClusterView view = OneNamed();
  view.ObserveMembers({{{"n2", "a:2"}, {"n3", "a:3"}, {"n4", "a:1"}}, Index(20)});
  ASSERT_EQ(view.size(), 4u);
  EXPECT_TRUE(view.Usable(3));
  // The user's own endpoint answers, and is n4 by now.
  view.Observe(0, {.node_id = "n4", .leader_id = "n3", .term = Term(2)});
  EXPECT_FALSE(view.Usable(0)) << "one node, one slot";
  EXPECT_TRUE(view.Usable(3));
  view.ObserveMembers({{{"n2", "a:2"}, {"n3", "a:3"}}, Index(30)});
  EXPECT_TRUE(view.Asked(3)) << "the user's endpoint";
}

TEST(ClusterViewTest, AnOutsideAddressThatTheUserHasNamedIsNotReplacedByAnInsideOne) {
  ClusterView view({"a:1", "outside:2"});
  view.Observe(0, {.node_id = "n1", .term = Term(1)});
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "inside:2"}}, Index(10)});
  ASSERT_EQ(view.size(), 3u);
  view.MarkDown(2);
  view.Observe(1, {.node_id = "n2", .term = Term(1)});
  EXPECT_EQ(view.node(2).address, "outside:2");
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "inside:2"}}, Index(10)});
  EXPECT_EQ(view.node(2).address, "outside:2");
}

TEST(ClusterViewTest, KnowsWhetherAnyoneClaimsAnotherLeader) {
  ClusterView view({"a:1", "a:2", "a:3"});
  view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(1)});
  view.Observe(1, {.node_id = "n2", .leader_id = "n1", .term = Term(1)});
  view.Observe(2, {.node_id = "n3", .leader_id = "n1", .term = Term(1)});
  EXPECT_FALSE(view.AnotherLeaderClaimed(0)) << "all claim the node that asks";
  view.Observe(1, {.node_id = "n2", .leader_id = "n3", .term = Term(2)});
  EXPECT_TRUE(view.AnotherLeaderClaimed(0));
  view.MarkDown(2);
  EXPECT_FALSE(view.AnotherLeaderClaimed(0)) << "the claimed leader is down";
}

constexpr uint64_t kOld = 0x01d;
constexpr uint64_t kHistory = 0x4444;
constexpr uint64_t kNew = kOld ^ kHistory;
constexpr uint64_t kOther = 0x2e3;

NodeReport From(uint64_t cluster, const char* node, const char* leader, uint64_t term) {
  return {.node_id = node,
          .leader_id = leader,
          .term = Term(term),
          .cluster_id = cluster,
          .history = cluster == kNew ? kHistory : 0};
}

// R35. It knows neither the revisions nor the members of the one before.
TEST(ClusterViewTest, ALaterHistoryTakesThePlaceOfAllThatIsBelieved) {
  ClusterView view({"a:1", "a:2", "a:3"});
  view.Observe(0, From(kOld, "n1", "n3", 7));
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "a:2"}, {"n3", "a:3"}}, Index(90)});
  EXPECT_EQ(view.cluster_id(), kOld);
  EXPECT_FALSE(view.Observe(1, From(kNew, "n2", "", kTermsOfHistory)));
  EXPECT_EQ(view.cluster_id(), kNew);
  EXPECT_FALSE(view.Leader().has_value());
  EXPECT_TRUE(view.Observe(1, From(kNew, "n2", "n2", kTermsOfHistory + 1)));
  EXPECT_EQ(view.Leader(), 1u);
  view.ObserveMembers({{{"n2", "a:2"}}, Index(40)});
  EXPECT_FALSE(view.Usable(0)) << "the list is of a later history, though of a lower index";
  EXPECT_EQ(view.node(0).term, Term());
}

TEST(ClusterViewTest, WhoWasLeftBehindByARecoveryIsNotUsed) {
  ClusterView view({"a:1", "a:2"});
  view.Observe(0, From(kNew, "n1", "n1", kTermsOfHistory + 1));
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "a:2"}}, Index(40)});
  EXPECT_FALSE(view.Observe(1, From(kOld, "n2", "n2", 900)));
  EXPECT_TRUE(view.node(1).foreign);
  EXPECT_FALSE(view.Usable(1));
  EXPECT_TRUE(view.Asked(1)) << "it may come back with an empty data directory";
  EXPECT_EQ(view.Leader(), 0u);
  view.Observe(1, From(kNew, "n2", "n1", kTermsOfHistory + 1));
  EXPECT_TRUE(view.Usable(1));
}

TEST(ClusterViewTest, ANodeOfAnotherClusterIsNotUsed) {
  ClusterView view({"a:1", "b:1"});
  view.Observe(0, From(kOld, "n1", "n1", 3));
  view.Observe(1, From(kOther, "n1", "n1", 5));
  EXPECT_TRUE(view.Usable(0)) << "the other one is not another address of it";
  EXPECT_FALSE(view.Usable(1));
  view.Observe(1, From(kOther, "n1", "n1", kTermsOfHistory + 5));
  EXPECT_FALSE(view.Usable(1)) << "its history is another cluster's";
  EXPECT_EQ(view.term(), Term(3));
}

// The one that was added again is where the cluster says, the old one where it was.
TEST(ClusterViewTest, ANamesakeThatWasLeftBehindHidesNobody) {
  ClusterView view({"a:1", "a:3"});
  view.Observe(0, From(kNew, "n1", "n3", kTermsOfHistory + 4));
  view.Observe(1, {.node_id = "n3", .term = Term(kTermsOfHistory + 4), .cluster_id = kNew});
  view.ObserveMembers({{{"n1", "a:1"}, {"n3", "b:3"}}, Index(40)});
  view.Observe(1, From(kOld, "n3", "", 900));
  EXPECT_EQ(view.node(1).address, "b:3");
  view.Observe(1, From(kNew, "n3", "n3", kTermsOfHistory + 4));
  EXPECT_EQ(view.Leader(), 1u);
  EXPECT_TRUE(view.Usable(1) && view.node(1).up);
}

// Who names a leader in an error does not tell of which history.
TEST(ClusterViewTest, AHintDoesNotBeginAHistory) {
  ClusterView view({"a:1", "a:2"});
  view.Observe(0, From(kOld, "n1", "n1", 7));
  EXPECT_FALSE(view.ObserveLeaderHint("n2", "a:2", Term(kTermsOfHistory + 5)).has_value());
  view.Observe(1, From(kNew, "n2", "n2", kTermsOfHistory + 5));
  EXPECT_EQ(view.cluster_id(), kNew);
  EXPECT_EQ(view.Leader(), 1u);
}

}  // namespace
}  // namespace skein::client
