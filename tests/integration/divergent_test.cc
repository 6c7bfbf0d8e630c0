// The writes of a leader that was cut off: they can be looked at, and written again, but over no
// newer value.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/client/cli_process.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

const std::string kLarge((256 << 10), 'x');

class DivergentTest : public ::testing::Test {
 protected:
  // The leader takes writes that nobody else gets, dies, and comes back when another one leads.
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    ClientOptions options;
    options.discover = false;
    client_ = Client::Connect({cluster_.Address(leader_)}, options);
    for (const char* key : {"deleted", "kept", "both", "newer"}) {
      const auto put = client_->Put(key, "before");
      ASSERT_TRUE(put.ok()) << put.status();
      cut_ = put->revision;
    }
    const std::vector<int> others = cluster_.Others(leader_);
    // Frozen, and killed before they wake up: they never read what is sent to them.
    for (const int node : others) Freeze(node);
    ASSERT_NO_FATAL_FAILURE(TakeAlone());
    cluster_.Kill(leader_);
    for (const int node : others) {
      cluster_.Kill(node);
      cluster_.Start(node);
    }
    ASSERT_GE(cluster_.WaitForLeader(), 0);
    client_ = cluster_.NewClient();
    const auto put = client_->Put("newer", "after");
    ASSERT_TRUE(put.ok()) << put.status();
    cluster_.Start(leader_);
    ASSERT_TRUE(WaitUntil(seconds(30), [&] { return List().size() == 1; })) << List().dump();
  }
  // Returns when none of its threads runs any more.
  void Freeze(int node) {
    cluster_.Pause(node);
    siginfo_t info = {};
    const auto pid = static_cast<id_t>(cluster_.process(node).pid());
    ASSERT_EQ(::waitid(P_PID, pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
  }
  // Until all are durable on the leader.
  void TakeAlone() {
    const auto ignore = [](const auto&) {};
    client_->PutAsync("fresh", "first", {}, ignore);
    client_->PutAsync("fresh", "cut\n\xff", {}, ignore);
    client_->PutAsync("both", "cut", {}, ignore);
    client_->PutAsync("newer", "cut", {}, ignore);
    client_->DeleteAsync("deleted", {}, ignore);
    // What waits for the first entry goes at once when it is so much.
    client_->PutAsync("large", kLarge, {}, ignore);
    EXPECT_TRUE(WaitUntil(seconds(10), [this] {
      const auto trace = client_->Trace(cluster_.Address(leader_), cut_);
      return trace.ok() && std::ranges::any_of(trace->entries, [this](const EntryStages& entry) {
               return entry.last_revision == cut_ + 6 && entry.durable_us != 0;
             });
    }));
  }

  std::string Arguments(const std::string& command, const std::string& more = "") const {
    return "--endpoints " + cluster_.Address((leader_ + 1) % 3) + " divergent " + command +
           " --data-dir " + cluster_.DataDirectory(leader_) + " " + more;
  }
  nlohmann::json List() {
    return nlohmann::json::parse(RunSkein("--output json " + Arguments("list")).output);
  }
  std::string Replay(const std::string& more, int code) {
    const Ran ran = RunSkein(Arguments("replay", "--all " + more));
    EXPECT_EQ(ran.code, code) << ran.output;
    return ran.output;
  }
  std::string Value(const std::string& key) {
    ReadOptions read;
    read.consistency = Consistency::kLinearizable;
    const auto got = client_->Get(key, read);
    EXPECT_TRUE(got.ok()) << got.status();
    return got.ok() && got->has_value() ? (*got)->value : "none";
  }
  static void ExpectHas(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
  }

  ProcessCluster cluster_;
  int leader_ = -1;
  std::unique_ptr<Client> client_;
  uint64_t cut_ = 0;  // revision of the last write that all have
};

TEST_F(DivergentTest, CanBeLookedAt) {
  const nlohmann::json files = List();
  EXPECT_EQ(files[0]["commands"], 6);
  EXPECT_EQ(files[0]["after_revision"], cut_);
  EXPECT_EQ(files[0]["damaged"], false);
  const std::string name = files[0]["file"];
  const Ran shown = RunSkein(Arguments("show", name));
  EXPECT_EQ(shown.code, 0);
  const auto line = [this](uint64_t number, const std::string& rest) {
    return std::to_string(cut_ + number) + "\t" + rest + "\n";
  };
  EXPECT_EQ(shown.output, line(1, "put\tfresh\tfirst") + line(2, "put\tfresh\tcut\\n\\xff") +
                              line(3, "put\tboth\tcut") + line(4, "put\tnewer\tcut") +
                              line(5, "delete\tdeleted") + line(6, "put\tlarge\t" + kLarge));
  std::istringstream lines(RunSkein("--output json " + Arguments("show", "--all")).output);
  std::string second;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(std::getline(lines, second));
  const nlohmann::json command = nlohmann::json::parse(second);
  EXPECT_EQ(command["file"], name);
  EXPECT_EQ(command["revision"], cut_ + 2);
  EXPECT_EQ(command["operation"], "put");
  EXPECT_EQ(command["key"], "fresh");
  EXPECT_EQ(command["encoding"], "base64");
  EXPECT_EQ(RunSkein(Arguments("show")).code, 2) << "which one?";
  EXPECT_EQ(RunSkein(Arguments("show", "another.tail")).code, 2);
}

TEST_F(DivergentTest, IsWrittenAgainButOverNoNewerValue) {
  ExpectHas(Replay("", 2), "--yes");
  ExpectHas(Replay("--dry-run", 3), "5 keys: 4 to be written, 0 already so, 1 left alone");
  EXPECT_EQ(Value("fresh"), "none") << "a look changes nothing";
  const std::string replayed = Replay("--yes", 3);
  ExpectHas(replayed, "newer\tnewer\tversion ");
  ExpectHas(replayed, "5 keys: 4 written, 0 already so, 1 left alone");
  EXPECT_EQ(Value("fresh"), "cut\n\xff") << "the last command on a key counts";
  EXPECT_EQ(Value("both"), "cut");
  EXPECT_EQ(Value("deleted"), "none");
  EXPECT_EQ(Value("newer"), "after");
  EXPECT_EQ(Value("kept"), "before");
  const uint64_t token = client_->token();
  ExpectHas(Replay("--yes", 3), "5 keys: 0 written, 4 already so, 1 left alone");
  EXPECT_EQ(client_->Put("probe", "")->revision, token + 1) << "nothing is written twice";
  ExpectHas(Replay("--yes --force", 0), "5 keys: 1 written, 4 already so, 0 left alone");
  EXPECT_EQ(Value("newer"), "cut");
}

TEST_F(DivergentTest, IsNotWrittenToAnotherCluster) {
  ProcessCluster other({.nodes = 1, .flags = {"--cluster-token", "other"}});
  ASSERT_EQ(other.WaitForLeader(), 0);
  const Ran ran = RunSkein("--endpoints " + other.Address(0) + " divergent replay --all --yes" +
                           " --data-dir " + cluster_.DataDirectory(leader_));
  EXPECT_EQ(ran.code, 3);
  ExpectHas(ran.output, "belongs to cluster skein, the endpoints to cluster other");
}

}  // namespace
}  // namespace skein
