// Writers that remember what they were told, and the comparison of that with what the nodes hold.
//
// Every write has a key and a value of its own. Its outcome is one of three: acknowledged, with a
// revision; refused, certainly without effect; unknown.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "skein/client.h"
#include "tests/support/process_cluster.h"

namespace skein {

struct WrittenRecord {
  std::map<std::string, uint64_t> acknowledged;  // key -> revision
  std::map<std::string, std::string> refused;    // key -> error
  std::map<std::string, std::string> unknown;    // key -> error
};

// The value that the load writes under a key.
std::string ValueFor(const std::string& key);

// What is wrong with the contents of a node that has applied everything; at most a few complaints.
// Contents: key -> (value, version).
using Contents = std::map<std::string, std::pair<std::string, uint64_t>>;
std::vector<std::string> Complaints(const WrittenRecord& record, const Contents& contents);

// All keys with a prefix on one node, once it has applied `revision`. Fails the test if the node
// does not answer.
Contents ContentsOf(const std::string& address, const std::string& prefix, uint64_t revision);

// Thread-safe. The writers start at once.
class CheckedLoad {
 public:
  // `prefix` is that of all keys, and no other load's. Node i of the addresses is called n(i + 1).
  CheckedLoad(const std::vector<std::string>& addresses, const std::string& prefix,
              int writers = 8);
  CheckedLoad(const ProcessCluster& cluster, const std::string& prefix, int writers = 8)
      : CheckedLoad(cluster.Addresses(), prefix, writers) {}
  ~CheckedLoad();

  size_t acknowledged() const { return acknowledged_.load(); }
  // True once `count` more writes were acknowledged than now.
  bool WaitForMore(size_t count, std::chrono::milliseconds timeout = std::chrono::seconds(60));
  // The longest time without an acknowledgement since this was called last.
  std::chrono::milliseconds TakeLongestPause();
  // Waits for the calls that are under way.
  void Stop();

  // After Stop: compares these nodes with the record, and with each other. Fails the test for each
  // difference.
  void ExpectOn(const std::vector<std::string>& addresses);
  void ExpectOnEveryNode() { ExpectOn(addresses_); }
  const WrittenRecord& record() const { return record_; }

 private:
  void Write(int writer);

  const std::vector<std::string> addresses_;
  const std::string prefix_;
  std::unique_ptr<Client> client_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> acknowledged_{0};
  Mutex mu_;
  WrittenRecord record_;  // guarded by mu_ until the writers have ended
  std::chrono::steady_clock::time_point last_acknowledged_ ABSL_GUARDED_BY(mu_) =
      std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration longest_pause_ ABSL_GUARDED_BY(mu_){};
  std::vector<std::thread> writers_;
};

}  // namespace skein
