// Bytes that change on the way to a node must not leave it behind for good, whatever its end of the
// connection makes of them. No connection is reset here.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kRounds = 4;
constexpr seconds kGarbled{1};
// A frame of HTTP/2 begins with nine bytes, and in it a message of gRPC with a flag and a length of
// four, the highest first. A change here makes it longer by 64 KiB or more: all that follows
// on the stream is taken for a part of it, while the connection answers as before.
constexpr size_t kLengthByte = 9 + 1 + 1;
constexpr int kLengthsChanged = 5;
// Several times as long as a link waits for a receipt.
constexpr seconds kCatchUp{15};

class GarbledLinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    ASSERT_TRUE(Put());
    ASSERT_TRUE(cluster_.WaitForApplied(revision_, cluster_.AllNodes()));
  }

  bool Put() {
    const auto put = client_->Put("key", "value");
    EXPECT_TRUE(put.ok()) << put.status();
    if (put.ok()) revision_ = put->revision;
    return put.ok();
  }
  uint64_t Garbled(int link) { return cluster_.proxy().Stats(link).garbled; }

  ProcessCluster cluster_{{.proxied = true}};
  std::unique_ptr<Client> client_ = cluster_.NewClient();
  int leader_ = -1;
  uint64_t revision_ = 0;  // of the last put
};

TEST_F(GarbledLinkTest, AFollowerCatchesUpAfterAnyByteWasChanged) {
  for (int round = 0; round < kRounds; ++round) {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    const int follower = cluster_.Others(leader_)[static_cast<size_t>(round) % 2];
    const int link = cluster_.Link(leader_, follower);
    const uint64_t before = Garbled(link);
    WaitUntil(kGarbled, [&] {
      cluster_.proxy().Garble(link, Flow::kForward);
      return !Put();
    });
    EXPECT_GT(Garbled(link), before);
    ASSERT_TRUE(Put());
    EXPECT_TRUE(cluster_.WaitForApplied(revision_, {follower}, kCatchUp)) << "round " << round;
  }
}

TEST_F(GarbledLinkTest, AFollowerThatSwallowsWhatIsSentCatchesUp) {
  const int follower = cluster_.Others(leader_).front();
  const int link = cluster_.Link(leader_, follower);
  for (int i = 0; i < kLengthsChanged; ++i) {
    const uint64_t before = Garbled(link);
    cluster_.proxy().Garble(link, Flow::kForward, kLengthByte);
    ASSERT_TRUE(Put());
    ASSERT_TRUE(WaitUntil(kCatchUp, [&] { return Garbled(link) > before; }));
  }
  ASSERT_TRUE(Put());
  EXPECT_TRUE(cluster_.WaitForApplied(revision_, {follower}, kCatchUp));
  const std::string log = cluster_.Log(leader_);
  EXPECT_NE(log.find("lost the link to " + ProcessCluster::Name(follower)), std::string::npos);
  EXPECT_NE(log.find("that it takes what is sent"), std::string::npos);
}

}  // namespace
}  // namespace skein
