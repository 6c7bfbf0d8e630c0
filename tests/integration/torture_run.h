// Rounds of faults on clusters of real processes under a checked load, until the time is over or
// something contradicts the promise.
//
// Use from one thread, the one that makes the clusters: the kernel kills the nodes with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/integration/torture_checks.h"
#include "tests/integration/torture_faults.h"
#include "tests/integration/torture_load.h"
#include "tests/integration/torture_report.h"
#include "tests/integration/torture_watch.h"
#include "tests/support/process_cluster.h"

namespace skein {

struct TortureOptions {
  double seconds = 60;
  uint64_t seed = 1;
  int nodes = 0;                 // of each cluster; 0: three, and every third time five
  bool every_kind = false;       // goes on until all kinds were tried, up to 5 times as long
  std::vector<FaultKind> kinds;  // those to draw from; empty: all
  int rounds_per_cluster = 40;   // then the data is thrown away
  const std::atomic<bool>* stop = nullptr;           // set: ends after the present round
  std::function<void(const std::string&)> progress;  // a line for each round
  // For tests of the test: sees, and may falsify, what a round has recorded.
  std::function<void(std::vector<OpRecord>*)> falsify;
  // The same, with the cluster at hand, when the load of a round is over.
  std::function<void(ProcessCluster*)> meddle;
};

class TortureRun {
 public:
  explicit TortureRun(const TortureOptions& options);
  ~TortureRun();

  TortureReport Run();

 private:
  struct Cluster;
  struct Round;

  bool GoOn();
  bool Interrupted() const;
  void NewCluster();
  void EndCluster();
  FaultKind Draw();
  void PlayRound();
  void Hurt(Round* round, const TortureLoad& load);
  void Judge(Round* round, std::vector<OpRecord> records);
  std::vector<NodeContents> ReadAll(Round* round);
  void LookIntoLogs(Round* round);
  void Measure(const Round& round, const std::vector<OpRecord>& records);
  void Tell(const Round& round, size_t operations);
  void KeepEvidence(const std::vector<OpRecord>& records);

  const TortureOptions options_;
  Random random_;
  uint64_t began_us_ = 0;
  TortureReport report_;
  std::vector<FaultKind> deck_;
  std::unique_ptr<Cluster> cluster_;
};

// What a node holds under `prefix` once it has applied `revision`. The answer is an error, empty if
// there was none.
std::string ReadNode(const std::string& address, const std::string& prefix, uint64_t revision,
                     KeysOfNode* keys);

}  // namespace skein
