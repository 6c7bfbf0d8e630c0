#include "client/router.h"

#include <gtest/gtest.h>

#include <map>

namespace skein::client {
namespace {

// n1 leads n2 and n3, in the slots 0, 1, 2.
ClusterView ThreeNodes() {
  ClusterView view({"a:1", "a:2", "a:3"});
  for (size_t i = 0; i < 3; ++i) {
    const std::string id = "n" + std::to_string(i + 1);
    view.Observe(i, {.node_id = id, .leader_id = "n1", .term = Term(1)});
  }
  return view;
}

ClusterView WithLag(int64_t n2, int64_t n3) {
  ClusterView view = ThreeNodes();
  view.ObserveMembers({{{"n1", "a:1", true, 0}, {"n2", "a:2", true, n2}, {"n3", "a:3", true, n3}}});
  return view;
}

// How often each slot is picked over many draws.
std::map<size_t, int> Picks(Router* router, const ClusterView& view, ReadPolicy policy) {
  std::map<size_t, int> picks;
  for (uint64_t i = 0; i < 1000; ++i) {
    const auto slot = router->PickReader(view, policy, {}, i * 0x9e3779b97f4a7c15ull);
    if (slot.has_value()) ++picks[*slot];
  }
  return picks;
}

TEST(RouterTest, FollowersGetTheReads) {
  ClusterView view = ThreeNodes();
  Router router({});
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers).count(0), 0u);
}

TEST(RouterTest, ANewNodeGetsNoReadsUntilItIsLevel) {
  ClusterView view = WithLag(0, 0);
  view.ObserveMembers({{{"n1", "a:1"}, {"n2", "a:2"}, {"n3", "a:3"}, {"n4", "a:4", false}}});
  Router router({});
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers).count(3), 0u)
      << "nobody says how far it is";
  view.ObserveMembers(
      {{{"n2", "a:2"}, {"n3", "a:3", true, 0, true}, {"n4", "a:4", false, 0, true}}});
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers)[1], 1000) << "n3 and n4 catch up";
  view.ObserveMembers(
      {{{"n2", "a:2"}, {"n3", "a:3", true, 0, true}, {"n4", "a:4", false, 0, false}}});
  view.AddInFlight(1, 100);
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers)[3], 1000) << "a learner that is level";
}

TEST(RouterTest, LeaderPolicyAsksTheLeaderAlone) {
  ClusterView view = ThreeNodes();
  Router router({});
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kLeader)[0], 1000);
}

TEST(RouterTest, TheLessLoadedOfTwoIsTaken) {
  ClusterView view = ThreeNodes();
  view.AddInFlight(1, 100);
  Router router({});
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers)[2], 1000);
}

TEST(RouterTest, ASmallDifferenceDoesNotMoveTheLoad) {
  ClusterView view = ThreeNodes();
  Router router({});
  const size_t first = *router.PickReader(view, ReadPolicy::kFollowers, {}, 7);
  view.AddInFlight(first, 8);
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers)[first], 1000);
  view.AddInFlight(first, 1);
  EXPECT_EQ(Picks(&router, view, ReadPolicy::kFollowers)[first], 0);
}

TEST(RouterTest, ALaggingFollowerComesBackOnlyWellBelowTheLimit) {
  Router router({.lag_max_ms = 500});
  EXPECT_GT(Picks(&router, WithLag(400, 0), ReadPolicy::kFollowers)[1], 0);
  EXPECT_EQ(Picks(&router, WithLag(501, 0), ReadPolicy::kFollowers)[1], 0);
  EXPECT_EQ(Picks(&router, WithLag(400, 0), ReadPolicy::kFollowers)[1], 0);
  ClusterView recovered = WithLag(100, 0);
  recovered.AddInFlight(2, 100);
  EXPECT_EQ(Picks(&router, recovered, ReadPolicy::kFollowers)[1], 1000);
}

TEST(RouterTest, TheLeaderHelpsOutUpToItsCap) {
  ClusterView view = ThreeNodes();
  view.MarkDown(1);
  view.MarkDown(2);
  Router router({.leader_fallback_max = 10});
  EXPECT_EQ(router.PickReader(view, ReadPolicy::kFollowers, {}, 1), 0u);
  view.AddInFlight(0, 10);
  EXPECT_EQ(router.PickReader(view, ReadPolicy::kFollowers, {}, 1), std::nullopt);
}

TEST(RouterTest, WhatWasTriedIsNotTriedAgain) {
  ClusterView view = ThreeNodes();
  Router router({});
  TriedSet tried;
  tried.Add(1);
  EXPECT_EQ(router.PickReader(view, ReadPolicy::kFollowers, tried, 1), 2u);
  tried.Add(2);
  EXPECT_EQ(router.PickReader(view, ReadPolicy::kFollowers, tried, 1), 0u);
  tried.Add(0);
  EXPECT_EQ(router.PickReader(view, ReadPolicy::kFollowers, tried, 1), std::nullopt);
}

TEST(RouterTest, WritesGoToTheLeaderOrToWhoeverMayKnowIt) {
  ClusterView view = ThreeNodes();
  Router router({});
  EXPECT_EQ(router.PickWriter(view, {}, 5), 0u);
  view.MarkDown(0);
  EXPECT_NE(router.PickWriter(view, {}, 0), 0u);
  view.MarkDown(1);
  EXPECT_EQ(router.PickWriter(view, {}, 0), 2u);
  view.MarkDown(2);
  EXPECT_TRUE(router.PickWriter(view, {}, 0).has_value());
}

TEST(RouterTest, WithEveryNodeDownSomeNodeIsTried) {
  ClusterView view = ThreeNodes();
  for (size_t i = 0; i < 3; ++i) view.MarkDown(i);
  Router router({});
  EXPECT_TRUE(router.PickReader(view, ReadPolicy::kFollowers, {}, 1).has_value());
}

}  // namespace
}  // namespace skein::client
