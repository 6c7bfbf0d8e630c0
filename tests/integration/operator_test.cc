// What operators do to a cluster that is under load, with the commands that they type: `skein` and
// `skeind` as binaries.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/client/cli_process.h"
#include "tests/integration/checked_load.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

std::vector<std::string> Words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

class OperatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    client_ = cluster_.NewClient();
    load_ = std::make_unique<CheckedLoad>(cluster_, "load/", 4);
    ASSERT_TRUE(load_->WaitForMore(500));
  }

  std::string Endpoint(int node) const { return "--endpoints " + cluster_.Address(node) + " "; }
  std::string ReplaceArguments(int old_node, int new_node) const {
    return Endpoint(old_node == 0 ? 1 : 0) + "member replace " + ProcessCluster::Name(old_node) +
           " " + ProcessCluster::Name(new_node) + " " + cluster_.Address(new_node) +
           " --data-dir " + cluster_.DataDirectory(new_node);
  }

  // The command that `skein` has printed, run as it stands.
  std::unique_ptr<Process> StartAsPrinted(const std::string& output, int node) {
    const size_t begin = output.rfind("skeind --id " + ProcessCluster::Name(node));
    EXPECT_NE(begin, std::string::npos) << output;
    if (begin == std::string::npos) return nullptr;
    std::vector<std::string> command =
        Words(output.substr(begin, output.find('\n', begin) - begin));
    command[0] = SkeindPath();
    return std::make_unique<Process>(command, LogOf(node));
  }
  std::string LogOf(int node) const {
    return cluster_.directory().File(ProcessCluster::Name(node) + ".log");
  }

  // `n2 n3 (n4)`: learners are in brackets.
  std::string Members() {
    const auto members = client_->Members();
    if (!members.ok()) return members.status().ToString();
    std::string text;
    for (const ClusterMember& member : members->members) {
      text += (text.empty() ? "" : " ") + (member.voter ? member.id : "(" + member.id + ")");
    }
    return text;
  }

  // Ends the load and compares these nodes with what it was told.
  void ExpectNothingLost(const std::vector<int>& nodes) {
    load_->Stop();
    const auto last = client_->Put("last", "");
    ASSERT_TRUE(last.ok()) << last.status();
    EXPECT_GT(load_->record().acknowledged.size(), 500U);
    for (const int node : nodes) {
      const Contents contents = ContentsOf(cluster_.Address(node), "load/", last->revision);
      for (const std::string& complaint : Complaints(load_->record(), contents)) {
        ADD_FAILURE() << ProcessCluster::Name(node) << ": " << complaint;
      }
    }
  }

  ProcessCluster cluster_{{.nodes = 3, .spares = 3}};
  int leader_ = -1;
  std::unique_ptr<Client> client_;
  std::unique_ptr<CheckedLoad> load_;
};

TEST_F(OperatorTest, TheLeaderIsReplacedUnderLoadThoughTheCommandIsInterrupted) {
  const std::string arguments = ReplaceArguments(leader_, 3);
  std::unique_ptr<Process> fresh;
  {
    CliProcess replace(arguments);
    ASSERT_TRUE(replace.Says("n4 has no connection")) << replace.output();
    fresh = StartAsPrinted(replace.output(), 3);
    replace.Signal(SIGINT);
    EXPECT_EQ(replace.WaitForEnd(), 1) << replace.output();
  }
  CliProcess replace(arguments);
  EXPECT_EQ(replace.WaitForEnd(), 0) << replace.output() << fresh->Output();
  std::printf("%s", replace.output().c_str());
  std::vector<int> left = cluster_.Others(leader_);
  std::string names;
  left = {};
  for (int node = 0; node < 4; ++node) {
    if (node == leader_) continue;
    left.push_back(node);
    names += (names.empty() ? "" : " ") + ProcessCluster::Name(node);
  }
  EXPECT_EQ(Members(), names);
  ASSERT_TRUE(load_->WaitForMore(200));
  cluster_.Kill(leader_);
  ASSERT_TRUE(load_->WaitForMore(200)) << "it was not needed any more";
  // One may fail, as before.
  cluster_.Kill(left[0]);
  ASSERT_TRUE(load_->WaitForMore(200)) << "two of three are left";
  ExpectNothingLost({left[1], left[2]});
}

TEST_F(OperatorTest, AMemberThatIsLostWithItsDataIsReplaced) {
  const int lost = (leader_ + 1) % 3;
  cluster_.Kill(lost);
  std::filesystem::remove_all(cluster_.DataDirectory(lost));
  CliProcess replace(ReplaceArguments(lost, 3));
  ASSERT_TRUE(replace.Says("n4 has no connection")) << replace.output();
  const auto fresh = StartAsPrinted(replace.output(), 3);
  EXPECT_EQ(replace.WaitForEnd(), 0) << replace.output() << fresh->Output();
  ASSERT_TRUE(load_->WaitForMore(200));
  const int other = 3 - lost - leader_;
  cluster_.Kill(other);
  ASSERT_TRUE(load_->WaitForMore(200)) << "one of the others may fail now";
  ExpectNothingLost({leader_, 3});
}

TEST_F(OperatorTest, AReadReplicaHasAnUpstreamAndIsNeverPromoted) {
  const std::string upstream = ProcessCluster::Name((leader_ + 1) % 3);
  const std::string at = Endpoint(leader_);
  const std::string address = cluster_.Address(3);
  Ran ran = RunSkein(at + "member add n4 " + address + " --learner --upstream n9");
  EXPECT_EQ(ran.code, 3) << ran.output;
  EXPECT_NE(ran.output.find("n9 is not a member"), std::string::npos) << ran.output;
  ran = RunSkein(at + "member add n4 " + address + " --learner --upstream " + upstream);
  ASSERT_EQ(ran.code, 0) << ran.output;
  cluster_.Start(3);
  ran = RunSkein(at + "member wait n4 --wait-timeout 60");
  ASSERT_EQ(ran.code, 0) << ran.output;
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    ran = RunSkein(at + "--output table status");
    return ran.output.find("n4 is fed by " + upstream + "\n") != std::string::npos;
  })) << ran.output;
  ran = RunSkein(at + "--output table member list");
  EXPECT_NE(ran.output.find("learner for good"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("UPSTREAM"), std::string::npos) << ran.output;
  for (const char* command : {"member promote n4", "member wait n4 --voter --wait-timeout 60"}) {
    ran = RunSkein(at + command);
    EXPECT_EQ(ran.code, 3) << ran.output;
    EXPECT_NE(ran.output.find("a learner for good"), std::string::npos) << ran.output;
  }
  ran = RunSkein(at + "member upstream n4 n4");
  EXPECT_EQ(ran.code, 3) << ran.output;
  EXPECT_NE(ran.output.find("cannot be its own upstream"), std::string::npos) << ran.output;
  ran = RunSkein(at + "member upstream " + upstream + " n4");
  EXPECT_EQ(ran.code, 3) << ran.output;
  EXPECT_NE(ran.output.find("in a circle"), std::string::npos) << ran.output;
  for (int i = 0; i < 2; ++i) {  // a second time it is so already
    ran = RunSkein(at + "member upstream n4 none");
    EXPECT_EQ(ran.code, 0) << ran.output;
  }
  // It counts for no quorum.
  EXPECT_EQ(Members(), "n1 n2 n3 (n4)");
  cluster_.Kill(3);
  ASSERT_TRUE(load_->WaitForMore(200));
  cluster_.Start(3);
  ExpectNothingLost({0, 1, 2, 3});
}

TEST_F(OperatorTest, AFollowerMovesToAnotherAddress) {
  const int node = (leader_ + 1) % 3;
  const std::string name = ProcessCluster::Name(node);
  const std::string address = cluster_.Address(3);
  EXPECT_EQ(cluster_.Terminate(node, seconds(30)), 0);
  const Ran moved = RunSkein(Endpoint(leader_) + "member move " + name + " " + address);
  EXPECT_EQ(moved.code, 0) << moved.output;
  Process process(
      {SkeindPath(), "--id", name, "--data-dir", cluster_.DataDirectory(node), "--listen", address},
      LogOf(node));
  const Ran waited = RunSkein(Endpoint(leader_) + "member wait " + name + " --wait-timeout 60");
  EXPECT_EQ(waited.code, 0) << waited.output << process.Output();
  // It is needed: the third one goes.
  cluster_.Kill(3 - node - leader_);
  ASSERT_TRUE(load_->WaitForMore(200));
  // Clients find it.
  ReadOptions followers;
  followers.policy = ReadPolicy::kFollowers;
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    const auto got = client_->Get("last", followers);
    return got.ok() && got->by.node_id == name;
  }));
  ExpectNothingLost({leader_});
}

// With its data, one node after the other: nobody is at an old address in the end.
TEST_F(OperatorTest, TheWholeClusterMovesNodeByNode) {
  std::vector<std::unique_ptr<Process>> moved;
  for (int node = 0; node < 3; ++node) {
    const std::string name = ProcessCluster::Name(node);
    const std::string address = cluster_.Address(node + 3);
    const std::string way = Endpoint(node == 0 ? 1 : 3);
    EXPECT_EQ(cluster_.Terminate(node, seconds(30)), 0);
    const Ran told = RunSkein(way + "member move " + name + " " + address);
    ASSERT_EQ(told.code, 0) << told.output;
    const std::string directory = cluster_.directory().File("moved-" + name);
    std::filesystem::rename(cluster_.DataDirectory(node), directory);
    const std::vector<std::string> command = {SkeindPath(), "--id",     name,   "--data-dir",
                                              directory,    "--listen", address};
    moved.push_back(std::make_unique<Process>(command, LogOf(node)));
    const Ran waited = RunSkein(way + "member wait " + name + " --wait-timeout 60");
    ASSERT_EQ(waited.code, 0) << waited.output << moved.back()->Output();
    ASSERT_TRUE(load_->WaitForMore(200));
  }
  EXPECT_EQ(Members(), "n1 n2 n3");
  ExpectNothingLost({3, 4, 5});
}

// One client, all the time: it has been told of nodes of which none is left in the end.
TEST_F(OperatorTest, AClientLivesThroughTheReplacementOfAllNodes) {
  std::vector<std::unique_ptr<Process>> fresh;
  for (int node = 0; node < 3; ++node) {
    // Through a node that stays for this time.
    const int way = node == 0 ? 1 : node + 2;
    const std::string name = ProcessCluster::Name(node + 3);
    CliProcess replace(Endpoint(way) + "member replace " + ProcessCluster::Name(node) + " " + name +
                       " " + cluster_.Address(node + 3) + " --data-dir " +
                       cluster_.DataDirectory(node + 3));
    ASSERT_TRUE(replace.Says(name + " has no connection")) << replace.output();
    fresh.push_back(StartAsPrinted(replace.output(), node + 3));
    ASSERT_EQ(replace.WaitForEnd(), 0) << replace.output() << fresh.back()->Output();
    ASSERT_TRUE(load_->WaitForMore(100));
    cluster_.Kill(node);
    ASSERT_TRUE(load_->WaitForMore(100));
  }
  EXPECT_EQ(Members(), "n4 n5 n6");
  ASSERT_TRUE(load_->WaitForMore(200));
  ExpectNothingLost({3, 4, 5});
}

}  // namespace
}  // namespace skein
