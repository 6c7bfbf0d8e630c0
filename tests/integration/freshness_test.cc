// Reads of real nodes, each addressed directly: never staler than what was asked for.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "common/mutex.h"
#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

class FreshnessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = cluster_.WaitForLeader();
    ASSERT_GE(leader_, 0);
  }

  ProcessCluster cluster_;
  int leader_ = -1;
};

// One key that only ever grows, and how far it was acknowledged.
class Counter {
 public:
  static constexpr char kKey[] = "counter";

  explicit Counter(const std::vector<std::string>& addresses)
      : client_(Client::Connect(addresses)), writer_([this] { Run(); }) {}
  ~Counter() {
    stopping_ = true;
    writer_.join();
  }
  uint64_t acknowledged() const { return acknowledged_; }
  std::string last_error() {
    MutexLock lock(&mu_);
    return last_error_;
  }

 private:
  void Run() {
    for (uint64_t next = 1; !stopping_; ++next) {
      WriteOptions options;
      options.deadline = seconds(2);
      const absl::StatusOr<PutResult> put = client_->Put(kKey, std::to_string(next), options);
      if (put.ok()) {
        acknowledged_ = next;
        continue;
      }
      MutexLock lock(&mu_);
      last_error_ = put.status().ToString();
    }
  }

  std::unique_ptr<Client> client_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> acknowledged_{0};
  Mutex mu_;
  std::string last_error_ ABSL_GUARDED_BY(mu_);
  std::thread writer_;
};

// Readers that ask one node again and again, and judge each answer.
class DirectReaders {
 public:
  DirectReaders(const std::string& address, v1::Consistency consistency, const Counter& counter,
                int readers)
      : consistency_(consistency), counter_(counter) {
    for (int i = 0; i < readers; ++i) {
      readers_.emplace_back([this, address] { Run(address); });
    }
  }
  ~DirectReaders() { Stop(); }
  void Stop() {
    stopping_ = true;
    for (std::thread& reader : readers_) {
      if (reader.joinable()) reader.join();
    }
  }

  std::atomic<int> sent{0};
  std::atomic<int> fresh{0};
  std::atomic<int> stale{0};
  std::atomic<int> refused{0};

 private:
  void Run(const std::string& address) {
    RawNode node(address);
    while (!stopping_) {
      const uint64_t floor = counter_.acknowledged();
      ++sent;
      v1::GetResponse response;
      if (!node.Get(GetOf(Counter::kKey, consistency_), &response, seconds(10)).ok()) {
        ++refused;
      } else if (response.found() && std::stoull(response.value()) >= floor) {
        ++fresh;
      } else {
        ++stale;
      }
    }
  }

  const v1::Consistency consistency_;
  const Counter& counter_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> readers_;
};

// Asks one node again and again who leads. A term has one leader: two claims that differ would
// mislead a client for as long as the term lasts.
class LeaderClaims {
 public:
  explicit LeaderClaims(const std::vector<std::string>& addresses) {
    for (const std::string& address : addresses) {
      watchers_.emplace_back([this, address] { Watch(address); });
    }
  }
  ~LeaderClaims() { Stop(); }
  void Stop() {
    stopping_ = true;
    for (std::thread& watcher : watchers_) {
      if (watcher.joinable()) watcher.join();
    }
  }
  // After Stop.
  size_t terms() const { return leaders_.size(); }
  const std::string& contradiction() const { return contradiction_; }

 private:
  void Watch(const std::string& address) {
    RawNode node(address);
    while (!stopping_) {
      v1::StatusResponse status;
      if (!node.Status(&status).ok() || status.leader_id().empty()) continue;
      MutexLock lock(&mu_);
      const auto [leader, first] = leaders_.emplace(status.term(), status.leader_id());
      if (first || leader->second == status.leader_id()) continue;
      contradiction_ = status.node_id() + " says that " + status.leader_id() + " leads term " +
                       std::to_string(status.term()) + ", which " + leader->second + " leads";
    }
  }

  std::atomic<bool> stopping_{false};
  Mutex mu_;
  std::map<uint64_t, std::string> leaders_;  // by term; guarded by mu_ until the watchers ended
  std::string contradiction_;                // the same
  std::vector<std::thread> watchers_;
};

TEST_F(FreshnessTest, ALeaderThatWasPausedServesNoStaleLinearizableRead) {
  constexpr int kReaders = 8;
  Counter counter(cluster_.Addresses());
  ASSERT_TRUE(WaitUntil(seconds(30), [&] { return counter.acknowledged() >= 100; }));
  cluster_.Pause(leader_);
  const auto paused_at = steady_clock::now();
  const uint64_t before = counter.acknowledged();
  const int successor = cluster_.WaitForLeader();
  ASSERT_GE(successor, 0);
  ASSERT_NE(successor, leader_);
  ASSERT_TRUE(WaitUntil(seconds(30), [&] {
    return steady_clock::now() >= paused_at + seconds(5) && counter.acknowledged() >= before + 100;
  }));
  // The first questions wait in the old leader's sockets, and are what it finds first.
  DirectReaders linearizable(cluster_.Address(leader_), v1::LINEARIZABLE, counter, kReaders);
  DirectReaders any(cluster_.Address(leader_), v1::ANY, counter, kReaders);
  ASSERT_TRUE(WaitUntil(seconds(10),
                        [&] { return linearizable.sent >= kReaders && any.sent >= kReaders; }));
  cluster_.Resume(leader_);
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return linearizable.fresh >= 1000; }));
  linearizable.Stop();
  any.Stop();
  EXPECT_EQ(linearizable.stale, 0);
  EXPECT_GT(any.stale, 0) << "the old leader was never behind, so this shows nothing";
  std::printf("linearizable: %d fresh, %d refused, %d stale; any: %d stale\n",
              linearizable.fresh.load(), linearizable.refused.load(), linearizable.stale.load(),
              any.stale.load());
}

// As above, but again and again, and short enough for the leader to stay leader at times.
TEST_F(FreshnessTest, ShortPausesServeNoStaleLinearizableRead) {
  Counter counter(cluster_.Addresses());
  ASSERT_TRUE(WaitUntil(seconds(30), [&] { return counter.acknowledged() >= 10; }));
  LeaderClaims claims(cluster_.Addresses());
  std::vector<std::unique_ptr<DirectReaders>> readers;
  for (const int node : cluster_.AllNodes()) {
    readers.push_back(
        std::make_unique<DirectReaders>(cluster_.Address(node), v1::LINEARIZABLE, counter, 2));
  }
  for (const int pause_ms : {200, 600, 1000, 1500}) {
    const int leader = cluster_.WaitForLeader();
    ASSERT_GE(leader, 0);
    cluster_.Pause(leader);
    const auto until = steady_clock::now() + milliseconds(pause_ms);
    WaitUntil(seconds(10), [&] { return steady_clock::now() >= until; });
    cluster_.Resume(leader);
    const uint64_t before = counter.acknowledged();
    ASSERT_TRUE(WaitUntil(seconds(30), [&] { return counter.acknowledged() >= before + 20; }))
        << counter.last_error();
  }
  for (const auto& reader : readers) {
    EXPECT_TRUE(WaitUntil(seconds(30), [&] { return reader->fresh >= 100; }));
    reader->Stop();
    EXPECT_EQ(reader->stale, 0);
  }
  claims.Stop();
  EXPECT_EQ(claims.contradiction(), "");
  EXPECT_GT(claims.terms(), 1U) << "the leader never changed, so this shows little";
}

TEST_F(FreshnessTest, AWriteIsReadableOnFollowersAtItsRevision) {
  const auto client = cluster_.NewClient();
  for (const int follower : cluster_.Others(leader_)) {
    RawNode node(cluster_.Address(follower));
    for (int i = 0; i < 1000; ++i) {
      const std::string value = std::to_string(i);
      const absl::StatusOr<PutResult> put = client->Put("own", value);
      ASSERT_TRUE(put.ok()) << put.status();
      v1::GetResponse response;
      const grpc::Status status = node.Get(GetOf("own", v1::AT_LEAST, put->revision), &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_EQ(response.node().node_id(), ProcessCluster::Name(follower));
      ASSERT_EQ(response.value(), value);
      ASSERT_EQ(response.version(), put->revision);
    }
  }
}

TEST_F(FreshnessTest, AClientReadsItsOwnWritesFromFollowers) {
  const auto client = cluster_.NewClient();
  int from_followers = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string value = std::to_string(i);
    ASSERT_TRUE(client->Put("own", value).ok());
    const absl::StatusOr<GetResult> got = client->Get("own");
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_TRUE(got->has_value());
    ASSERT_EQ((*got)->value, value);
    if (got->by.node_id != ProcessCluster::Name(leader_)) ++from_followers;
  }
  EXPECT_GT(from_followers, 900);
}

}  // namespace
}  // namespace skein
