// What a cluster of real processes is hurt with, and the hand that does it.
//
// Use from the thread that made the cluster only; nothing here blocks for longer than a node takes
// to end on SIGTERM.
//
// Invariants.
//  1. A node is paused, killed or kept down by one fault at a time, and a link hurt by one.
//  2. After HealAll all nodes run and all links are whole.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/random.h"
#include "tests/integration/torture_watch.h"
#include "tests/support/process_cluster.h"

namespace skein {

enum class FaultKind {
  kKillLeader,
  kKillFollower,
  kKillMajority,
  kKillAll,
  kCrashLoop,
  kTerminate,
  kNodeDown,
  kPauseLeaderShort,
  kPauseLeaderLong,
  kPauseFollower,
  kCut,
  kBlackHole,
  kOneWayCut,
  kStall,
  kDelay,
  kTrickle,
  kReset,
  kGarbage,
  kGarble,
  kIsolateLeader,
  kIsolateLeaderStalled,
  kDeafLeader,
  kMuteLeader,
  kReconnectStorm,
  kStarvation,
};
inline constexpr int kFaultKinds = static_cast<int>(FaultKind::kStarvation) + 1;

struct FaultFacts {
  const char* name;
  const char* what;   // one line for the report
  bool loses_quorum;  // nothing can be written while it lasts
  int shortest_ms;    // how long it lasts
  int longest_ms;
};
const FaultFacts& FactsOf(FaultKind kind);

// A fault that was tried.
struct FaultRecord {
  FaultKind kind = FaultKind::kKillLeader;
  std::string target;     // `n2`, `n1>n3`
  uint64_t begin_us = 0;  // of the steady clock
  uint64_t end_us = 0;
};

class TortureFaults {
 public:
  TortureFaults(ProcessCluster* cluster, TortureWatch* watch, uint64_t seed);
  ~TortureFaults();

  // Chooses a target that no other fault has; false if there is none.
  bool Begin(FaultKind kind);
  // Does what is due; to be called every few milliseconds.
  void Step();
  bool idle() const { return active_.empty(); }
  void HealAll();

  // Those that are over, since the last call.
  std::vector<FaultRecord> TakeRecords() { return std::exchange(over_, {}); }
  // What nodes did that none must: end by themselves, or not end on request.
  std::vector<std::string> TakeTrouble() { return std::exchange(trouble_, {}); }

 private:
  using Instant = std::chrono::steady_clock::time_point;
  struct Active {
    FaultRecord record;
    Instant end;
    Instant next_step;
    std::vector<int> nodes;                  // held by this fault
    std::vector<std::pair<int, int>> links;  // the same
    std::function<void()> step;              // every `step_interval`
    std::chrono::milliseconds step_interval{0};
    std::function<void()> finish;
  };

  bool HurtProcesses(FaultKind kind, Active* active);
  bool HurtLinks(FaultKind kind, Active* active);
  bool HurtMachine(FaultKind kind, Active* active);
  bool Isolate(FaultKind kind, Active* active);
  void KillNodes(Active* active);
  void CrashLoop(Active* active);
  void Terminate(Active* active);
  void Pause(Active* active);
  void RandomBytes(FaultKind kind, Active* active);

  int Leader();
  // Holds a node that nobody else does; -1: there is none.
  int Hold(int node, Active* active);
  int HoldFollower(Active* active);
  bool HoldLink(int from, int to, Active* active);
  bool HoldLinks(Active* active);
  void SetLinks(const Active& active, const LinkFault& fault);
  void Finish(Active* active);
  void StartIfDown(int node);
  void LookForCrashes();

  ProcessCluster* const cluster_;
  TortureWatch* const watch_;
  Random random_;
  std::vector<std::unique_ptr<Active>> active_;
  std::set<int> held_nodes_;
  std::set<std::pair<int, int>> held_links_;
  std::set<int> reported_;  // nodes whose unwanted end was told
  std::vector<FaultRecord> over_;
  std::vector<std::string> trouble_;
};

// `clients` connections to each address, all at once, each asking once. How many were answered
// within `patience`.
int ReconnectStorm(const std::vector<std::string>& addresses, int clients,
                   std::chrono::milliseconds patience);

}  // namespace skein
