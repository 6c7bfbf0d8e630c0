// Files of a real node, damaged while its process is down: what it acknowledged comes back from the
// others, or it refuses with the file and what to do. No read ever shows a wrong value.
#include <gtest/gtest.h>

#include <filesystem>

#include "skein/error.h"
#include "tests/integration/checked_load.h"
#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/storage_faults.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr size_t kSomeWrites = 300;

// The files of a folder with this extension that are not empty, oldest first.
std::vector<std::string> FilesOf(const std::string& folder, const std::string& extension) {
  std::vector<std::string> files;
  for (const auto& file : fs::directory_iterator(folder)) {
    if (file.path().extension() == extension && file.file_size() > 0) files.push_back(file.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class DamagedNodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    follower_ = cluster_.Others(leader_).front();
  }
  bool LogSays(int node, const std::string& words) {
    return WaitUntil(seconds(30),
                     [&] { return cluster_.Log(node).find(words) != std::string::npos; });
  }
  std::string Folder(int node, const std::string& name) const {
    return cluster_.DataDirectory(node) + "/" + name;
  }

  ProcessCluster cluster_;
  int leader_ = -1;
  int follower_ = -1;
};

TEST_F(DamagedNodeTest, AFlippedBitAmidAFollowersLogIsRepairedByTheLeader) {
  CheckedLoad load(cluster_, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Kill(follower_);
  FlipBitAt(FilesOf(Folder(follower_, "log"), ".log").back(), 0.5);
  cluster_.Start(follower_);
  EXPECT_TRUE(LogSays(follower_, "event=log_damaged"));
  EXPECT_TRUE(LogSays(follower_, Folder(follower_, "log") + " is damaged: it ends at index "));
  EXPECT_TRUE(LogSays(follower_, "the damaged log is complete again"));
  // It counts again: without the other follower, nothing commits but with its copies.
  const int other = 3 - leader_ - follower_;
  cluster_.Kill(other);
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  cluster_.Start(other);
  load.Stop();
  load.ExpectOnEveryNode();
}

// Every node restarts, and the one that knew most has lost the end of its log.
TEST_F(DamagedNodeTest, AFlippedBitAmidTheLeadersLogIsRepairedByItsSuccessor) {
  CheckedLoad load(cluster_, "load/");
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  for (const int node : cluster_.AllNodes()) cluster_.Kill(node);
  FlipBitAt(FilesOf(Folder(leader_, "log"), ".log").back(), 0.3);
  for (const int node : cluster_.AllNodes()) cluster_.Start(node);
  EXPECT_TRUE(LogSays(leader_, "event=log_damaged"));
  EXPECT_TRUE(LogSays(leader_, "the damaged log is complete again"));
  ASSERT_TRUE(load.WaitForMore(kSomeWrites));
  load.Stop();
  load.ExpectOnEveryNode();
}

TEST_F(DamagedNodeTest, ADamagedStateIsNeverAWrongValueAndCanBeMadeAnew) {
  const auto client = cluster_.NewClient();
  constexpr int kKeys = 400;
  const auto key_of = [](int i) { return "k" + std::to_string(i); };
  for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(client->Put(key_of(i), ValueFor(key_of(i))).ok());
  ASSERT_TRUE(cluster_.WaitForApplied(client->token(), cluster_.AllNodes()));
  ASSERT_EQ(cluster_.Terminate(follower_, seconds(30)), 0);  // writes its state to table files
  const std::string state = Folder(follower_, "state");
  ASSERT_FALSE(FilesOf(state, ".sst").empty());
  for (const std::string& file : FilesOf(state, ".sst")) FlipBitAt(file, 0.2);
  cluster_.Start(follower_);
  RawNode node(cluster_.Address(follower_));
  int refused = 0;
  for (int i = 0; i < kKeys; ++i) {
    v1::GetResponse got;
    const grpc::Status status = node.Get(GetOf(key_of(i), v1::ANY), &got);
    if (status.ok()) {
      ASSERT_EQ(got.value(), ValueFor(key_of(i)));
      continue;
    }
    ++refused;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS) << status.error_message();
    EXPECT_EQ(DetailIn(status).reason(), v1::DAMAGED_DATA);
  }
  EXPECT_GT(refused, 0);
  EXPECT_TRUE(LogSays(follower_, "event=state_damaged"));
  EXPECT_TRUE(LogSays(follower_, "move " + state + " away"));
  // A program hears nothing of it: another node answers.
  for (int i = 0; i < kKeys; ++i) {
    const auto got = client->Get(key_of(i));
    ASSERT_TRUE(got.ok() && got->has_value()) << got.status();
    EXPECT_EQ((*got)->value, ValueFor(key_of(i)));
  }
  // And then as it was told.
  cluster_.Terminate(follower_, seconds(30));
  fs::rename(state, state + ".damaged");
  cluster_.Start(follower_);
  ASSERT_TRUE(cluster_.WaitForApplied(client->token(), {follower_}));
  EXPECT_TRUE(ContentsOf(cluster_.Address(follower_), "k", client->token()) ==
              ContentsOf(cluster_.Address(leader_), "k", client->token()));
}

TEST_F(DamagedNodeTest, MissingAndCutFilesAreRefusedByNameWithAdvice) {
  const auto client = cluster_.NewClient();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(client->Put("k" + std::to_string(i), "v").ok());
  ASSERT_TRUE(cluster_.WaitForApplied(client->token(), cluster_.AllNodes()));
  // The second start has made a table file of the log, the stop one of the state.
  cluster_.Terminate(follower_, seconds(30));
  cluster_.Start(follower_);
  ASSERT_TRUE(client->Put("last", "v").ok());
  ASSERT_TRUE(cluster_.WaitForApplied(client->token(), {follower_}));
  cluster_.Terminate(follower_, seconds(30));
  const std::string data = cluster_.DataDirectory(follower_);
  fs::copy(data, data + ".sound", fs::copy_options::recursive);
  std::vector<std::string> flags = cluster_.Command(follower_);
  flags.erase(flags.begin());
  for (const char* folder : {"log", "state"}) {
    std::vector<std::string> files = FilesOf(Folder(follower_, folder), ".sst");
    ASSERT_FALSE(files.empty()) << folder;
    files.resize(1);
    for (const auto& file : fs::directory_iterator(Folder(follower_, folder))) {
      if (file.path().filename().string().starts_with("MANIFEST")) files.push_back(file.path());
    }
    ASSERT_EQ(files.size(), 2u) << folder;
    for (const std::string& file : files) {
      for (const bool cut : {false, true}) {
        // A short MANIFEST is one of an earlier time; storage tests say what becomes of that.
        if (cut && file.find("MANIFEST") != std::string::npos) continue;
        cut ? fs::resize_file(file, fs::file_size(file) / 2) : (void)fs::remove(file);
        const Ended ended = RunSkeind(flags, cluster_.directory());
        EXPECT_EQ(ended.code, 1) << ended.output;
        const std::string name = fs::path(file).filename();
        EXPECT_NE(ended.output.find(name), std::string::npos) << ended.output;
        EXPECT_NE(ended.output.find("away"), std::string::npos) << ended.output;
        fs::remove_all(data);
        fs::copy(data + ".sound", data, fs::copy_options::recursive);
      }
    }
  }
  cluster_.Start(follower_);  // sound again
  ASSERT_TRUE(client->Put("after", "v").ok());
  EXPECT_TRUE(cluster_.WaitForApplied(client->token(), {follower_}));
}

}  // namespace
}  // namespace skein
