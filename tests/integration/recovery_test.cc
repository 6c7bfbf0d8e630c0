// A cluster that has lost a majority of its nodes, disks and all, goes on with the one that is
// left.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/client/cli_process.h"
#include "tests/integration/checked_load.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

class RecoveryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    load_ = std::make_unique<CheckedLoad>(cluster_, "load/", 4);
    ASSERT_TRUE(load_->WaitForMore(500));
  }

  // Under load, the other two die with their disks; one of these is kept aside.
  void LoseAllBut(int survivor) {
    survivor_ = survivor;
    lost_ = (survivor + 1) % 3;
    const int other = (survivor + 2) % 3;
    cluster_.Kill(lost_);
    cluster_.Kill(other);
    std::filesystem::rename(cluster_.DataDirectory(lost_), Aside());
    std::filesystem::remove_all(cluster_.DataDirectory(other));
    load_->Stop();
  }
  std::string Aside() const { return cluster_.directory().File("aside"); }
  std::string Recover(const std::string& more = "") const {
    return "cluster recover --data-dir " + cluster_.DataDirectory(survivor_) + " " + more;
  }
  Ran Skein(const std::string& arguments) {
    return RunSkein("--endpoints " + cluster_.Address(survivor_) + " " + arguments);
  }
  void ExpectRuns(const std::string& arguments, int code, const std::string& words) {
    const Ran ran = Skein(arguments);
    EXPECT_EQ(ran.code, code) << arguments << "\n" << ran.output;
    EXPECT_NE(ran.output.find(words), std::string::npos)
        << arguments << " does not say '" << words << "':\n"
        << ran.output;
  }
  // Makes the survivor the only voter; returns the last revision that it has.
  uint64_t ForceNewQuorum() {
    ExpectRuns(Recover("--force-new-quorum --yes"), 3, "is in use by process");
    cluster_.Kill(survivor_);
    ExpectRuns(Recover(), 0, "Nothing was changed.");
    ExpectRuns(Recover("--force-new-quorum"), 2, "say --yes");
    const auto told = nlohmann::json::parse(Skein("--output json " + Recover()).output);
    EXPECT_EQ(told["node"], ProcessCluster::Name(survivor_));
    EXPECT_EQ(told["given_up"].size(), 2u);
    EXPECT_TRUE(told["refused"].is_null());
    {
      CliProcess asks(Recover("--force-new-quorum"), Through::kTerminal);
      EXPECT_TRUE(asks.Says("Type the name of the cluster (skein)"));
      asks.Type("yes\n");
      EXPECT_EQ(asks.WaitForEnd(), 1) << asks.output();
      EXPECT_NE(asks.output().find("nothing was changed"), std::string::npos);
    }
    CliProcess asks(Recover("--force-new-quorum"), Through::kTerminal);
    EXPECT_TRUE(asks.Says("Type the name of the cluster (skein)"));
    asks.Type("skein\n");
    EXPECT_EQ(asks.WaitForEnd(), 0) << asks.output();
    ExpectRuns(Recover("--force-new-quorum --yes"), 3, "only voter");
    return told["last_revision"];
  }
  // Every write that was acknowledged and reached the survivor, and nothing that was refused.
  void ExpectServes(int node, uint64_t had, uint64_t revision) {
    WrittenRecord record = load_->record();
    std::erase_if(record.acknowledged, [had](const auto& item) { return item.second > had; });
    EXPECT_GT(record.acknowledged.size(), 400u);
    const Contents contents = ContentsOf(cluster_.Address(node), "load/", revision);
    // What nobody was told to have succeeded, or reached others only, may be there or not.
    for (const auto& [key, at] : load_->record().acknowledged) {
      if (at > had) record.unknown[key] = "not known to the survivor";
    }
    for (const std::string& complaint : Complaints(record, contents)) {
      ADD_FAILURE() << ProcessCluster::Name(node) << ": " << complaint;
    }
  }
  uint64_t Put(const std::string& key) {
    const auto client = Client::Connect({cluster_.Address(survivor_)});
    const auto put = client->Put(key, "new");
    EXPECT_TRUE(put.ok()) << put.status();
    return put.ok() ? put->revision : 0;
  }
  bool IsRefusedOnBothSides() const {
    const std::string words = "recovered from the loss of a majority without " +
                              ProcessCluster::Name(lost_) + ": stop " + ProcessCluster::Name(lost_);
    const auto says = [&](int node, const std::string& what) {
      return cluster_.Log(node).find(what) != std::string::npos;
    };
    return says(survivor_, "refused the stream of " + ProcessCluster::Name(lost_)) &&
           says(survivor_, words) && says(lost_, words);
  }
  // It comes back with all that it had, calls, and is called once it is a member again.
  void ExpectOldNodeCannotDisturb() {
    const auto before = cluster_.StatusOf(survivor_);
    ASSERT_TRUE(before.has_value());
    std::filesystem::rename(Aside(), cluster_.DataDirectory(lost_));
    cluster_.Start(lost_);
    EXPECT_TRUE(WaitUntil(seconds(30), [&] { return IsRefusedOnBothSides(); }));
    const std::string name = ProcessCluster::Name(lost_);
    ExpectRuns("member add " + name + " " + cluster_.Address(lost_), 0, "--join");
    EXPECT_TRUE(WaitUntil(seconds(30), [&] {
      return cluster_.Log(survivor_).find("no link to " + name) != std::string::npos;
    }));
    EXPECT_GT(Put("while the old one knocks"), 0u);
    const auto after = cluster_.StatusOf(survivor_);
    ASSERT_TRUE(after.has_value());
    EXPECT_EQ(after->term, before->term);
    EXPECT_EQ(after->role, NodeRole::kLeader);
    cluster_.Kill(lost_);
    ExpectRuns("member remove " + name, 0, "removed");
  }
  void Join(int node) {
    const std::string name = ProcessCluster::Name(node);
    ExpectRuns("member add " + name + " " + cluster_.Address(node) + " --promote-when-caught-up", 0,
               "--join");
    cluster_.StartAnew(node);
    ExpectRuns("member wait " + name + " --voter --wait-timeout 60", 0, name);
  }
  void ExpectGoesOnAfter(int survivor) {
    ASSERT_NO_FATAL_FAILURE(LoseAllBut(survivor));
    const uint64_t had = ForceNewQuorum();
    cluster_.Start(survivor);
    ASSERT_EQ(cluster_.WaitForLeader(), survivor);
    const uint64_t revision = Put("after");
    EXPECT_EQ(revision, had + 1);
    ExpectServes(survivor, had, revision);
    ASSERT_NO_FATAL_FAILURE(ExpectOldNodeCannotDisturb());
    Join(3);
    Join(lost_);  // under its old name, with an empty directory
    const uint64_t last = Put("with three");
    ExpectServes(3, had, last);
    ExpectServes(lost_, had, last);
    // One may fail again, be it the one that all came from.
    cluster_.Kill(survivor);
    const auto client = Client::Connect({cluster_.Address(3), cluster_.Address(lost_)});
    WriteOptions patient;
    patient.deadline = seconds(30);
    const auto put = client->Put("without the survivor", "1", patient);
    EXPECT_TRUE(put.ok()) << put.status();
  }

  ProcessCluster cluster_{{.nodes = 3, .spares = 1}};
  int leader_ = -1;
  int survivor_ = -1;
  int lost_ = -1;
  std::unique_ptr<CheckedLoad> load_;
};

// It has seen revisions that are lost, and the old nodes are among its endpoints.
TEST_F(RecoveryTest, AProgramThatRunsGoesOn) {
  const auto client = Client::Connect(cluster_.Addresses());
  ASSERT_TRUE(client->Put("before", "1").ok());
  survivor_ = (leader_ + 1) % 3;
  cluster_.Kill(survivor_);
  ASSERT_TRUE(load_->WaitForMore(500));
  const auto lost = client->Put("lost", "1");
  ASSERT_TRUE(lost.ok()) << lost.status();
  ASSERT_NO_FATAL_FAILURE(LoseAllBut(survivor_));
  ExpectRuns(Recover("--force-new-quorum --yes"), 0, "is the only voter");
  std::filesystem::rename(Aside(), cluster_.DataDirectory(lost_));
  cluster_.Start(lost_);  // left behind, and it still answers whoever asks it
  cluster_.Start(survivor_);
  // As long as only the old node is heard it says that there is no quorum.
  absl::StatusOr<PutResult> put;
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    put = client->Put("after", "2");
    return put.ok();
  })) << put.status();
  EXPECT_LT(put->revision, lost->revision) << "nothing was lost";
  for (int i = 0; i < 50; ++i) {
    const auto got = client->Get("after", {.policy = ReadPolicy::kAny});
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->by.node_id, ProcessCluster::Name(survivor_));
  }
  EXPECT_FALSE((*client->Get("lost")).has_value());
}

TEST_F(RecoveryTest, TheLeaderGoesOnAlone) { ExpectGoesOnAfter(leader_); }
TEST_F(RecoveryTest, AFollowerGoesOnAlone) { ExpectGoesOnAfter((leader_ + 1) % 3); }

}  // namespace
}  // namespace skein
