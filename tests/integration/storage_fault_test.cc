// What a cluster does when disks fail it: each fault on nodes that are under load, and afterwards
// every acknowledged write is wanted back from every node.
#include <gtest/gtest.h>

#include <filesystem>

#include "skein/error.h"
#include "tests/integration/checked_load.h"
#include "tests/integration/faulty_nodes.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr size_t kSomeWrites = 200;
constexpr char kLogSyncs[] = "*/log/*.log";

class StorageFaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = local().WaitForLeader();
    ASSERT_GE(leader_, 0);
    followers_ = local().Others(leader_);
  }
  LocalNodes& local() { return nodes_.nodes(); }

  FaultyNodes nodes_{3};
  int leader_ = -1;
  std::vector<int> followers_;
};

TEST_F(StorageFaultTest, LossOfPowerOnAllNodesAtOnceLosesNothing) {
  CheckedLoad load(local().Addresses(), "load/");
  for (uint64_t round = 0; round < 3; ++round) {
    ASSERT_TRUE(load.WaitForMore(kSomeWrites)) << "round " << round;
    for (int node = 0; node < local().size(); ++node) {
      // Cut at the last sync, torn amid a record, torn with garbage behind it.
      nodes_.disk(node).Crash({.sound_bytes = round * 333 + static_cast<uint64_t>(node),
                               .garbage_bytes = round % 2 * 500});
    }
    for (int node = 0; node < local().size(); ++node) nodes_.Restart(node);
    ASSERT_GE(local().WaitForLeader(), 0) << "round " << round;
  }
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

// R12.
TEST_F(StorageFaultTest, ALeaderWhoseDiskHangsGivesUpAndTheClusterGoesOn) {
  CheckedLoad load(local().Addresses(), "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const auto began = steady_clock::now();
  nodes_.disk(leader_).HangSyncsOf(kLogSyncs);
  const int next = nodes_.AwaitLeaderAmong(followers_);
  ASSERT_GE(next, 0);
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
  std::printf("another leader after %lld ms\n", static_cast<long long>(took.count()));
  EXPECT_LT(took, seconds(5));
  EXPECT_GE(took, milliseconds(500)) << "not because of the stall limit";
  EXPECT_NE(nodes_.StatusOf(leader_).role(), v1::ROLE_LEADER);
  // A program that knows only the node whose disk hangs finds its way, too.
  const auto client = Client::Connect({local().Address(leader_)});
  const auto put = client->Put("meanwhile", "1");
  EXPECT_TRUE(put.ok()) << put.status();
  EXPECT_GT(nodes_.disk(leader_).hanging(), 0);
  nodes_.disk(leader_).HangSyncsOf("");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

TEST_F(StorageFaultTest, AFollowerWhoseDiskHangsIsNotNoticed) {
  const int follower = followers_.front();
  CheckedLoad load(local().Addresses(), "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  const v1::StatusResponse before = nodes_.StatusOf(leader_);
  nodes_.disk(follower).HangSyncsOf("*");
  // Longer than every timeout of the cluster. Who reads its own writes does not feel it either.
  const auto client = Client::Connect(local().Addresses());
  const auto until = steady_clock::now() + milliseconds(2500);
  milliseconds slowest{0};
  for (int i = 0; steady_clock::now() < until; ++i) {
    ASSERT_TRUE(load.WaitForMore(50, seconds(2)));
    const std::string value = std::to_string(i);
    ASSERT_TRUE(client->Put("own", value).ok());
    const auto asked = steady_clock::now();
    const auto got = client->Get("own");
    ASSERT_TRUE(got.ok() && got->has_value()) << got.status();
    EXPECT_EQ((*got)->value, value);
    slowest =
        std::max(slowest, std::chrono::duration_cast<milliseconds>(steady_clock::now() - asked));
  }
  std::printf("slowest read of an own write %lld ms\n", static_cast<long long>(slowest.count()));
  EXPECT_LT(slowest, seconds(2));
  EXPECT_GT(nodes_.disk(follower).hanging(), 0);
  const v1::StatusResponse after = nodes_.StatusOf(leader_);
  EXPECT_EQ(after.role(), v1::ROLE_LEADER);
  EXPECT_EQ(after.term(), before.term());
  EXPECT_LT(nodes_.StatusOf(follower).durable_index(), after.commit_index());
  nodes_.disk(follower).HangSyncsOf("");
  load.Stop();
  EXPECT_TRUE(load.record().refused.empty()) << load.record().refused.begin()->second;
  EXPECT_TRUE(load.record().unknown.empty()) << load.record().unknown.begin()->second;
  load.ExpectOnEveryNode();
  EXPECT_EQ(nodes_.StatusOf(leader_).term(), before.term());
}

// R7. What the kernel does with the pages of a failed sync is anybody's guess: here they are lost.
TEST_F(StorageFaultTest, ANodeWhoseSyncFailsStopsAndNamesTheFile) {
  for (const int node : {followers_.front(), leader_}) {
    CheckedLoad load(local().Addresses(), "load" + std::to_string(node) + "/");
    ASSERT_TRUE(load.WaitForMore(kSomeWrites));
    nodes_.disk(node).FailSyncsOf(kLogSyncs);
    const absl::Status reason = nodes_.AwaitStop(node);
    EXPECT_FALSE(reason.ok());
    EXPECT_NE(MessageOf(reason).find(nodes_.Directory(node) + "/log/0"), std::string::npos)
        << reason;
    nodes_.disk(node).Crash();
    local().Stop(node);
    ASSERT_TRUE(load.WaitForMore(64));  // more than can have been on their way
    nodes_.Restart(node);
    ASSERT_TRUE(load.WaitForMore(kSomeWrites));
    load.Stop();
    load.ExpectOnEveryNode();
  }
}

TEST_F(StorageFaultTest, AFollowerWhoseDiskIsFullToTheLastByteStopsAndComesBack) {
  const int follower = followers_.front();
  CheckedLoad load(local().Addresses(), "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  nodes_.disk(follower).SetFreeBytes(10'000);
  const absl::Status reason = nodes_.AwaitStop(follower);
  EXPECT_TRUE(absl::IsResourceExhausted(reason)) << reason;
  EXPECT_NE(MessageOf(reason).find(nodes_.Directory(follower)), std::string::npos) << reason;
  local().Stop(follower);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  nodes_.Restart(follower);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

// Nobody can give back to a node alone what its log has lost.
TEST(LonelyNodeTest, ALogThatLostItsEndIsRefusedWithFileIndexAndAdvice) {
  FaultyNodes alone(1);
  ASSERT_EQ(alone.nodes().WaitForLeader(), 0);
  for (int i = 0; i < 20; ++i) {
    v1::PutResponse put;
    ASSERT_TRUE(alone.nodes().raw(0).Put(PutOf("k" + std::to_string(i), "v"), &put).ok());
  }
  v1::StatusResponse status;
  ASSERT_TRUE(alone.nodes().raw(0).Status(&status).ok());
  const std::string directory = alone.Directory(0);
  alone.disk(0).Kill();
  alone.nodes().Stop(0);
  std::string wal;
  for (const auto& file : std::filesystem::directory_iterator(directory + "/log")) {
    if (file.path().extension() == ".log" && file.file_size() > 0) wal = file.path().string();
  }
  FlipBitAt(wal, 0.6);
  const auto logger = Logger::Create({.level = "off"}, "n1");
  NodeOptions options = alone.nodes().Options(0);
  options.storage.env = nullptr;
  const auto node = Node::Start(options, logger->get());
  EXPECT_TRUE(absl::IsDataLoss(node.status())) << node.status();
  const std::string message = MessageAndHintOf(node.status());
  EXPECT_NE(message.find(directory + "/log"), std::string::npos) << message;
  EXPECT_NE(message.find("has acknowledged " + std::to_string(status.durable_index())),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("restore"), std::string::npos) << message;
}

// What was trimmed from the log cannot be replayed: without its state the node has lost it.
TEST(LonelyNodeTest, AStateThatIsGoneIsRefusedOnceTheLogIsTrimmed) {
  LocalNodes nodes(1, {},
                   [](int, NodeOptions* options) { options->replica.core.trim_step_entries = 5; });
  const auto first_index = [&nodes] {
    v1::StatusResponse status;
    EXPECT_TRUE(nodes.raw(0).Status(&status).ok());
    return status.first_index();
  };
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(nodes.WaitForLeader(), 0);
    for (int i = 0; i < 30; ++i) {
      v1::PutResponse put;
      ASSERT_TRUE(nodes.raw(0).Put(PutOf("k" + std::to_string(i), "v"), &put).ok());
    }
    if (round == 1) {
      EXPECT_TRUE(WaitUntil(seconds(20), [&] { return first_index() > 20; }));
    }
    nodes.Stop(0);  // the state is on disk, and the log no longer needed for it
    if (round == 0) nodes.Start(0);
  }
  const NodeOptions options = nodes.Options(0);
  std::filesystem::remove_all(options.data_directory + "/state");
  const auto logger = Logger::Create({.level = "off"}, "n1");
  const auto node = Node::Start(options, logger->get());
  EXPECT_TRUE(absl::IsDataLoss(node.status())) << node.status();
  EXPECT_NE(MessageOf(node.status()).find(options.data_directory + "/state ends at index 0"),
            std::string::npos)
      << node.status();
}

constexpr uint64_t kReserve = 64 << 20;

// On all nodes, as it is when the cluster's own data fills them.
TEST(DiskReserveTest, PutsAreRefusedBeforeTheReserveIsUsedAndAllElseGoesOn) {
  FaultyNodes nodes(3, kReserve);
  const int leader = nodes.nodes().WaitForLeader();
  ASSERT_GE(leader, 0);
  const uint64_t term = nodes.StatusOf(leader).term();
  const auto client = Client::Connect(nodes.nodes().Addresses());
  for (int node = 0; node < 3; ++node) nodes.disk(node).SetFreeBytes(kReserve + (16 << 20));
  const std::string value(64 << 10, 'v');
  absl::Status refusal;
  int written = 0;
  for (; refusal.ok() && written < 2000; written += refusal.ok() ? 1 : 0) {
    refusal = client->Put("k" + std::to_string(written), value).status();
  }
  EXPECT_EQ(DetailOf(refusal).reason, ErrorReason::kDiskReserve) << refusal;
  EXPECT_FALSE(DetailOf(refusal).maybe_applied);
  for (int node = 0; node < 3; ++node) EXPECT_GT(nodes.disk(node).free_bytes(), kReserve / 2);
  // Longer than the election timeout: heartbeats, reads and deletes go on.
  int deleted = 0;
  const auto until = steady_clock::now() + milliseconds(1500);
  for (; steady_clock::now() < until; ++deleted) {
    const auto gone = client->Delete("k" + std::to_string(deleted));
    ASSERT_TRUE(gone.ok()) << gone.status();
    const std::string last = "k" + std::to_string(written - 1);
    const auto got = client->Get(last, {.consistency = Consistency::kLinearizable});
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(DetailOf(client->Put("no", "v").status()).reason, ErrorReason::kDiskReserve);
  }
  EXPECT_GT(deleted, 0);
  EXPECT_EQ(nodes.StatusOf(leader).term(), term);
  EXPECT_EQ(nodes.StatusOf(leader).role(), v1::ROLE_LEADER);
  for (int node = 0; node < 3; ++node) nodes.disk(node).SetFreeBytes(2 * kReserve);
  EXPECT_TRUE(WaitUntil(seconds(5), [&] { return client->Put("again", "v").ok(); }));
  for (int i = deleted; i < written; ++i) {
    const auto got = client->Get("k" + std::to_string(i));
    ASSERT_TRUE(got.ok() && got->has_value()) << i;
    EXPECT_EQ((*got)->value, value);
  }
}

}  // namespace
}  // namespace skein
