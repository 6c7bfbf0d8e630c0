// A node that reaches others elsewhere than the cluster does (--peer-addresses).
#include <gtest/gtest.h>

#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"

namespace skein {
namespace {

TEST(PeerAddressesTest, AFollowerPassesWritesOnToWhereItReachesTheLeader) {
  ProcessCluster cluster({.nodes = 3, .proxied = true});
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int follower = cluster.Others(leader).front();
  const auto connections = [&] {
    return cluster.proxy().Stats(cluster.Link(follower, leader)).accepted;
  };
  RawNode raw(cluster.Address(follower));
  v1::PutResponse response;
  const auto before = connections();
  ASSERT_TRUE(raw.Put(PutOf("k", "v"), &response).ok());
  EXPECT_EQ(connections(), before + 1);
}

}  // namespace
}  // namespace skein
