// What skeind refuses to start with: exit 2 and one line that says why. And whom a running cluster
// refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

void ExpectRefused(const Ended& ended, const std::string& words) {
  ASSERT_TRUE(ended.code.has_value()) << "did not end, output: " << ended.output;
  EXPECT_EQ(*ended.code, 2) << ended.output;
  // Nothing else may stand before the reason but log lines of the start.
  const size_t begin = ended.output.rfind("skeind: ");
  ASSERT_NE(begin, std::string::npos) << ended.output;
  EXPECT_TRUE(begin == 0 || ended.output[begin - 1] == '\n') << ended.output;
  const std::string line = ended.output.substr(begin);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
  EXPECT_NE(line.find(words), std::string::npos) << "expected '" << words << "' in: " << line;
}

class FlagsTest : public ::testing::Test {
 protected:
  using Flags = std::vector<std::string>;

  // Good flags for a node alone, with `changed` in place of what they name.
  Flags With(const Flags& changed) const {
    Flags flags = {"--id",
                   "n1",
                   "--data-dir",
                   directory_.File("data"),
                   "--listen",
                   port_.address(),
                   "--initial-cluster",
                   "n1=" + port_.address()};
    for (size_t i = 0; i < changed.size(); i += 2) {
      const auto found = std::find(flags.begin(), flags.end(), changed[i]);
      if (found == flags.end()) {
        flags.insert(flags.end(), {changed[i], changed[i + 1]});
      } else {
        *(found + 1) = changed[i + 1];
      }
    }
    return flags;
  }
  std::string Config(const std::string& text) const {
    const std::string path = directory_.File("skeind.toml");
    std::ofstream(path) << text;
    return path;
  }

  TempDir directory_;
  FreePort port_;
};

TEST_F(FlagsTest, GoodFlagsStart) {
  std::vector<std::string> command = With({"--election-timeout", "500"});
  command.insert(command.begin(), SkeindPath());
  Process process(command, directory_.File("log"));
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return process.Output().find("event=started") != std::string::npos;
  })) << process.Output();
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForEnd(seconds(30)), 0) << process.Output();
}

TEST_F(FlagsTest, BadFlagsAreRefused) {
  const std::string address = port_.address();
  const std::vector<std::pair<Flags, std::string>> cases = {
      {{"--no-such-flag", "1"}, "--no-such-flag"},
      {{"--heartbeat-interval", "-5"}, "heartbeat-interval"},
      {{"--heartbeat-interval", "soon"}, "heartbeat-interval"},
      {{"--heartbeat-interval", "0"}, "heartbeat"},
      {{"--election-timeout", "500x"}, "election-timeout"},
      {{"--election-timeout", "99999999999999999999999"}, "election-timeout"},
      {{"--election-timeout", "240"}, "five heartbeats"},
      {{"--election-timeout-max", "400"}, "election timeout"},
      {{"--disk-stall-limit", "10"}, "stall"},
      {{"--disk-reserve-bytes", "-1"}, "disk-reserve-bytes"},
      {{"--key-bytes-max", "0"}, "--key-bytes-max"},
      {{"--value-bytes-max", "999999999999"}, "--value-bytes-max"},
      {{"--block-cache-bytes", "lots"}, "block-cache-bytes"},
      {{"--initial-cluster", "n2=" + address}, "n1"},
      {{"--initial-cluster", ""}, "initial-cluster"},
      {{"--initial-cluster", "n1"}, "NAME=HOST:PORT"},
      {{"--initial-cluster", "n1=" + address + ","}, "NAME=HOST:PORT"},
      {{"--initial-cluster", "n1=127.0.0.1"}, "HOST:PORT"},
      {{"--initial-cluster", "n1=" + address + ",n1=127.0.0.1:1"}, "twice"},
      {{"--initial-cluster", "n1=" + address + ",n2=" + address}, "twice"},
      {{"--initial-cluster", "n1=" + address + ",n 2=127.0.0.1:1"}, "node name"},
      {{"--listen", "nowhere"}, "--listen"},
      {{"--listen", "127.0.0.1:0"}, "--listen"},
      {{"--listen", "127.0.0.1:65536"}, "--listen"},
      {{"--listen", "127.0.0.1:74x"}, "--listen"},
      {{"--listen", ":7411"}, "--listen"},
      {{"--listen", "192.0.2.1:7411"}, "cannot listen on 192.0.2.1:7411"},
      {{"--advertise", "me"}, "--advertise"},
      {{"--id", ""}, "node name"},
      {{"--id", "n/1"}, "node name"},
      {{"--data-dir", ""}, "data-dir"},
      {{"--cluster-token", ""}, "cluster-token"},
      {{"--log-level", "loud"}, "log level"},
      {{"--log-format", "xml"}, "log format"},
      {{"--config", directory_.File("missing.toml")}, "missing.toml"},
  };
  for (const auto& [changed, words] : cases) {
    SCOPED_TRACE(changed[0] + " " + changed[1]);
    ExpectRefused(RunSkeind(With(changed), directory_), words);
  }
}

TEST_F(FlagsTest, MissingFlagsAreRefused) {
  ExpectRefused(RunSkeind({}, directory_), "required");
  ExpectRefused(RunSkeind({"--id", "n1", "--data-dir", directory_.File("d")}, directory_),
                "initial-cluster");
  Flags flags = With({});
  flags.push_back("stray");
  ExpectRefused(RunSkeind(flags, directory_), "stray");
}

TEST_F(FlagsTest, BadConfigFilesAreRefused) {
  const std::string good = "id = \"n1\"\ndata-dir = \"" + directory_.File("data") +
                           "\"\nlisten = \"" + port_.address() +
                           "\"\ninitial-cluster = \"n1=" + port_.address() + "\"\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"colour = \"blue\"\n", "colour"},
      {"election-timeout = 100\n", "five heartbeats"},
      {"election-timeout = \"soon\"\n", "election-timeout"},
      {"[section]\nid = \"n2\"\n", "section"},
  };
  for (const auto& [text, words] : cases) {
    SCOPED_TRACE(text);
    ExpectRefused(RunSkeind({"--config", Config(good + text)}, directory_), words);
  }
  ExpectRefused(RunSkeind({"--config", Config("\x01\xff no toml")}, directory_), "");
}

TEST_F(FlagsTest, AGoodConfigFileStarts) {
  const std::string config =
      Config("id = \"n1\"\ndata-dir = \"" + directory_.File("data") + "\"\nlisten = \"" +
             port_.address() + "\"\ninitial-cluster = \"n1=" + port_.address() + "\"\n");
  Process process({SkeindPath(), "--config", config}, directory_.File("log"));
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return process.Output().find("event=started") != std::string::npos;
  })) << process.Output();
}

// Until the log knows who the members are, the flags must stay as they were.
TEST_F(FlagsTest, AnotherFoundingOfTheSameClusterIsRefused) {
  const std::string others = ",n2=127.0.0.1:1,n3=127.0.0.1:2";
  std::vector<std::string> command = With({"--initial-cluster", "n1=" + port_.address() + others});
  command.insert(command.begin(), SkeindPath());
  {
    Process process(command, directory_.File("log"));
    ASSERT_TRUE(WaitUntil(seconds(30), [&] {
      return process.Output().find("event=started") != std::string::npos;
    })) << process.Output();
  }
  ExpectRefused(RunSkeind(With({}), directory_), "belongs to a cluster of ");
}

TEST_F(FlagsTest, UnusableDataDirectoriesAreRefused) {
  std::ofstream(directory_.File("file")) << "not a directory";
  ExpectRefused(RunSkeind(With({"--data-dir", directory_.File("file")}), directory_), "file");
  ExpectRefused(RunSkeind(With({"--data-dir", directory_.File("file/below")}), directory_),
                "below");
  ExpectRefused(RunSkeind(With({"--data-dir", "/proc/skein"}), directory_), "/proc/skein");
}

class RefusalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    client_ = cluster_.NewClient();
    ASSERT_TRUE(client_->Put("before", "1").ok());
  }
  // The flags of a node, `changed` in place of what they name.
  std::vector<std::string> FlagsOf(int node, const std::vector<std::string>& changed) const {
    std::vector<std::string> flags = cluster_.Command(node);
    flags.erase(flags.begin());
    for (size_t i = 0; i < changed.size(); i += 2) {
      const auto found = std::find(flags.begin(), flags.end(), changed[i]);
      if (found == flags.end()) {
        flags.insert(flags.end(), {changed[i], changed[i + 1]});
      } else {
        *(found + 1) = changed[i + 1];
      }
    }
    return flags;
  }
  void ExpectWorks() {
    const auto put = client_->Put("after", "2");
    EXPECT_TRUE(put.ok()) << put.status();
    const auto got = client_->Get("before");
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(got->has_value());
  }
  bool AnyLogSays(const std::vector<int>& nodes, const std::string& words) const {
    return std::any_of(nodes.begin(), nodes.end(), [&](int node) {
      return cluster_.Log(node).find(words) != std::string::npos;
    });
  }

  ProcessCluster cluster_;
  int leader_ = -1;
  std::unique_ptr<Client> client_;
  FreePort spare_port_;
};

TEST_F(RefusalTest, ASecondProcessOnTheSameDataDirectoryIsRefused) {
  const pid_t holder = cluster_.process(leader_).pid();
  ExpectRefused(
      RunSkeind(FlagsOf(leader_, {"--listen", spare_port_.address()}), cluster_.directory()),
      "is in use by process " + std::to_string(holder));
  EXPECT_TRUE(cluster_.process(leader_).running());
  EXPECT_EQ(cluster_.WaitForLeader(), leader_);
  ExpectWorks();
}

TEST_F(RefusalTest, APortInUseIsRefused) {
  const std::string fresh = cluster_.directory().File("fresh");
  ExpectRefused(RunSkeind(FlagsOf(0, {"--data-dir", fresh}), cluster_.directory()),
                "cannot listen on " + cluster_.Address(0));
  EXPECT_TRUE(cluster_.process(0).running());
  ExpectWorks();
}

TEST_F(RefusalTest, ADataDirectoryOfAnotherOwnerIsRefused) {
  const int node = cluster_.Others(leader_).front();
  cluster_.Kill(node);
  const std::string directory = cluster_.DataDirectory(node);
  ExpectRefused(
      RunSkeind(FlagsOf(leader_, {"--data-dir", directory, "--listen", spare_port_.address()}),
                cluster_.directory()),
      "belongs to node " + ProcessCluster::Name(node));
  ExpectRefused(RunSkeind(FlagsOf(node, {"--cluster-token", "other"}), cluster_.directory()),
                "belongs to cluster skein, not to cluster other");
  // None of these attempts has harmed it.
  cluster_.Start(node);
  const auto put = client_->Put("after", "2");
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_TRUE(cluster_.WaitForApplied(put->revision, {node}));
}

TEST_F(RefusalTest, PeersOfAnotherClusterRefuseEachOther) {
  const int node = cluster_.Others(leader_).front();
  cluster_.Kill(node);
  std::vector<std::string> command = FlagsOf(
      node, {"--cluster-token", "other", "--data-dir", cluster_.directory().File("impostor")});
  command.insert(command.begin(), SkeindPath());
  Process impostor(command, cluster_.directory().File("impostor.log"));
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return AnyLogSays(cluster_.Others(node), "refused") &&
           impostor.Output().find("refused") != std::string::npos;
  })) << impostor.Output();
  EXPECT_TRUE(AnyLogSays(cluster_.Others(node), "belongs to cluster"));
  ExpectWorks();
  // It neither leads nor follows: it knows nothing of what the cluster holds.
  EXPECT_EQ(impostor.Output().find("role=leader"), std::string::npos) << impostor.Output();
  impostor.Kill();
  cluster_.Start(node);
  EXPECT_TRUE(cluster_.WaitForApplied(client_->token(), {node}));
}

// A node that has lost its data has also lost its promises: its old votes must not count again.
TEST_F(RefusalTest, ANodeWithAnEmptiedDataDirectoryIsRefused) {
  const int node = cluster_.Others(leader_).front();
  cluster_.Kill(node);
  std::filesystem::remove_all(cluster_.DataDirectory(node));
  cluster_.Start(node);
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    // In other words before and after the cluster has recorded its first one.
    return AnyLogSays(cluster_.Others(node), "data directory of") ||
           AnyLogSays(cluster_.Others(node), "its promises are lost");
  }));
  ExpectWorks();
}

}  // namespace
}  // namespace skein
