#include "client/cluster_view.h"

#include <gtest/gtest.h>

namespace skein::client {
namespace {

TEST(ClusterViewTest, OneEndpointLearnsTheOthers) {
  ClusterView view({"a:1"});
  view.Observe(0, {.node_id = "n2", .leader_id = "n1", .term = Term(3)});
  EXPECT_EQ(view.Leader(), std::nullopt) << "no address of n1 is known yet";
  view.ObserveMembers({{"n1", "a:0"}, {"n2", "a:1"}, {"n3", "a:2"}});
  ASSERT_EQ(view.size(), 3u);
  ASSERT_TRUE(view.Leader().has_value());
  EXPECT_EQ(view.node(*view.Leader()).address, "a:0");
  EXPECT_EQ(view.node(0).id, "n2");
}

TEST(ClusterViewTest, WithoutDiscoveryNoNodeIsAdded) {
  ClusterView view({"a:1"}, /*discover=*/false);
  view.Observe(0, {.node_id = "n2", .leader_id = "n1", .term = Term(3)});
  view.ObserveMembers({{"n1", "a:0"}, {"n2", "a:1"}});
  EXPECT_EQ(view.ObserveLeaderHint("n1", "a:0", Term(3)), std::nullopt);
  EXPECT_EQ(view.size(), 1u);
  EXPECT_TRUE(view.Usable(0));
  EXPECT_EQ(view.node(0).advertised, "a:1") << "what is told of the endpoints themselves counts";
}

TEST(ClusterViewTest, WithoutDiscoveryANodeIsTriedOnlyWhereItWasNamed) {
  for (const bool discover : {true, false}) {
    ClusterView view({"a:1"}, discover);
    view.Observe(0, {.node_id = "n1", .leader_id = "n1", .term = Term(3)});
    view.ObserveMembers({{"n1", "inside:1"}});
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
  view.ObserveMembers({{"n1", "a:1"}});
  EXPECT_TRUE(view.Usable(0));
  EXPECT_FALSE(view.Usable(1));
}

TEST(ClusterViewTest, ADownNodeIsTriedAtItsOtherAddress) {
  ClusterView view({"outside:1"});
  view.Observe(0, {.node_id = "n1", .term = Term(1)});
  view.ObserveMembers({{"n1", "inside:1"}});
  EXPECT_EQ(view.node(0).address, "outside:1") << "what works is kept";
  view.MarkDown(0);
  EXPECT_EQ(view.node(0).address, "inside:1");
  view.MarkDown(0);
  EXPECT_EQ(view.node(0).address, "outside:1");
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

}  // namespace
}  // namespace skein::client
