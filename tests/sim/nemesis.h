// Whoever makes things go wrong, at the rates that the seed has drawn, and mends them again.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tests/sim/sim_node.h"
#include "tests/sim/sim_operator.h"

namespace skein::sim {

class Nemesis {
 public:
  using Nodes = std::vector<std::unique_ptr<SimNode>>;

  Nemesis(const SimContext& context, Nodes* nodes, SimOperator* keeper, SimNetwork* network,
          SimRpc* rpc, Random random);

  void Start();
  // The node asks for votes in this term, or has won.
  void OnCandidate(size_t node, Term term);
  void OnLeader(size_t node, Term term);
  // It commits for the first time since.
  void OnFirstCommit(size_t node);
  // The node sends a heartbeat.
  void OnHeartbeat(size_t node);

  // From now on a quorum of voters that have their logs works without faults, perhaps with a
  // learner, and whatever is wrong with the others stays so. Returns who is healed.
  std::vector<size_t> HealQuorum();

 private:
  using Strike = void (Nemesis::*)();

  void Every(uint64_t mean_us, Strike strike);
  void Until(uint64_t mean_us, std::function<void()> undo);
  void ReviveLater(size_t node);

  void Crash();
  void CrashAll();
  void LosePower();
  void Terminate();
  void Pause();
  void Freeze(size_t number, bool whole_host);
  void Partition();
  void Isolate();
  void CutOneWay();
  void Clog();
  void Swizzle();
  void Overthrow(size_t node);
  void HearFew(size_t leader, uint64_t for_us);
  void BreakStream();
  void Garble();
  void StallDisk();
  void FailDisk();
  void FillDisk();
  void Damage();
  void JumpWallClock();
  void CutClient();
  void CutUpstream();
  void Wipe();

  size_t AnyNode() { return random_.Below(nodes_->size()); }
  size_t OtherThan(size_t node);
  // The leader, more often than not, if there is one.
  size_t LeaderOrAny();
  uint64_t ElectionMicros() const;  // the shortest time to an election
  size_t Quorum() const { return CommittedMembers(true).size() / 2 + 1; }
  std::vector<size_t> OtherVoters(size_t node);
  void CutAll(size_t node, bool to_it, bool from_it, bool cut);
  // One more voter may lose what it has: a quorum keeps every committed entry.
  bool MayLoseOne() const;
  bool IsKnownToAll(size_t number) const;
  std::vector<size_t> CommittedMembers(bool voters) const;
  void BreakForGood(size_t node);

  const SimContext context_;
  Nodes* const nodes_;
  SimOperator* const keeper_;
  SimNetwork* const network_;
  SimRpc* const rpc_;
  Random random_;
  bool stopped_ = false;
  std::vector<bool> stays_down_;  // by node
};

}  // namespace skein::sim
