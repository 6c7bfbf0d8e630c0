// Nodes that are too far behind for the log of the others.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

// Enough that the state is written to table files several times, so that the log may be trimmed;
// and several times the entries that are trimmed at once.
constexpr int kValues = 4000;
constexpr size_t kValueBytes = 16 << 10;

class SnapshotTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  // Far more than the log is kept for.
  void WriteMuch() {
    for (int i = 0; i < kValues; ++i) {
      const auto put =
          client_->Put("key" + std::to_string(i), std::string(kValueBytes, 'a' + i % 26));
      ASSERT_TRUE(put.ok()) << put.status();
    }
  }
  // As this node alone has it.
  void ExpectEverythingOn(int node) {
    EXPECT_TRUE(cluster_.WaitForApplied(client_->token(), {node}, seconds(60)));
    ClientOptions options;
    options.discover = false;
    const auto client = Client::Connect({cluster_.Address(node)}, options);
    ReadOptions any;
    any.consistency = Consistency::kAny;
    for (int i = 0; i < kValues; i += 97) {
      const auto got = client->Get("key" + std::to_string(i), any);
      ASSERT_TRUE(got.ok() && got->has_value()) << got.status();
      EXPECT_EQ((*got)->value, std::string(kValueBytes, 'a' + i % 26));
    }
  }
  bool WaitForLog(int node, const std::string& words) {
    return WaitUntil(seconds(30),
                     [&] { return cluster_.Log(node).find(words) != std::string::npos; });
  }

  ProcessCluster cluster_{{.nodes = 3, .spares = 1, .flags = {"--log-retention-bytes", "1000000"}}};
  std::unique_ptr<Client> client_ = cluster_.NewClient();
  int leader_ = -1;
};

TEST_F(SnapshotTest, ANodeThatWasAwayForLongFetchesOneAndFollowsOn) {
  const int away = cluster_.Others(leader_).front();
  cluster_.Kill(away);
  WriteMuch();
  cluster_.Start(away);
  EXPECT_TRUE(WaitForLog(away, "the log begins anew after the snapshot"));
  ExpectEverythingOn(away);
  // What it holds now survives, and it goes on with the log.
  cluster_.Kill(away);
  cluster_.Start(away);
  ASSERT_TRUE(client_->Put("after", "it").ok());
  ExpectEverythingOn(away);
}

TEST_F(SnapshotTest, ANewNodeJoinsByOne) {
  constexpr int kNew = 3;
  WriteMuch();
  v1::ChangeResponse changed;
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    RawNode raw(cluster_.Address(cluster_.WaitForLeader()));
    return raw.AddMember(ProcessCluster::Name(kNew), cluster_.Address(kNew), true, &changed).ok();
  }));
  cluster_.Start(kNew);
  EXPECT_TRUE(WaitForLog(kNew, "the log begins anew after the snapshot"));
  ExpectEverythingOn(kNew);
  EXPECT_TRUE(WaitForLog(kNew, "n4 is a voter now"));
}

}  // namespace
}  // namespace skein
