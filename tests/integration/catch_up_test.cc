// What a leader tells of a member that is behind.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

constexpr uint64_t kLinkBytesPerSecond = 4 << 20;

TEST(CatchUpTest, ALeaderTellsHowMuchAMemberLacksAndHowFastItComesCloser) {
  ProcessCluster cluster({.nodes = 3, .proxied = true});
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const int slow = cluster.Others(leader).front();
  RawNode raw(cluster.Address(leader));
  v1::StatusResponse status;
  const auto catch_up = [&] {
    EXPECT_TRUE(raw.Status(&status).ok());
    return MemberIn(status, ProcessCluster::Name(slow)).catch_up();
  };
  EXPECT_EQ(catch_up().way(), v1::CatchUp::WAY_UNSPECIFIED) << "level";
  LinkFault fault;
  fault.forward.bytes_per_second = kLinkBytesPerSecond;
  cluster.proxy().Set(cluster.Link(leader, slow), fault);

  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  const auto client = cluster.NewClient();
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      const std::string value(16 << 10, 'v');
      for (int i = 0; !stop; ++i) {
        EXPECT_TRUE(
            client->Put(std::to_string(writer) + "/" + std::to_string(i % 100), value).ok());
      }
    });
  }
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return catch_up().bytes_left() > 12u << 20; }));
  stop = true;
  for (std::thread& writer : writers) writer.join();

  // With nothing more to come it gets closer as fast as the link carries.
  v1::CatchUp seen;
  EXPECT_TRUE(WaitUntil(seconds(60), [&] {
    seen = catch_up();
    return seen.bytes_per_second() > 0;
  }));
  EXPECT_EQ(seen.way(), v1::CatchUp::WAY_LOG);
  EXPECT_EQ(seen.bytes_done(), 0u);
  EXPECT_LT(seen.bytes_per_second(), 4 * kLinkBytesPerSecond);
  cluster.proxy().Heal(cluster.Link(leader, slow));
  EXPECT_TRUE(
      WaitUntil(seconds(60), [&] { return catch_up().way() == v1::CatchUp::WAY_UNSPECIFIED; }));
  EXPECT_TRUE(cluster.WaitForApplied(client->token(), cluster.AllNodes()));
}

}  // namespace
}  // namespace skein
