// Whoever runs the cluster: adds, promotes, moves, removes and replaces nodes, and hands over,
// asking any node that takes itself for the leader, two at a time too.
//
// A node that is no member is kept down from the moment it is to be added until it joins, with an
// empty data directory, as `skeind --join` would.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/sim_node.h"

namespace skein::sim {

class SimOperator {
 public:
  using Nodes = std::vector<std::unique_ptr<SimNode>>;

  SimOperator(const SimContext& context, Nodes* nodes, Random random);

  void Start();
  // Begins nothing any more. Who was added and has not joined yet joins now.
  void Stop();

  // The node has won an election: some operators have waited for that.
  void OnLeader(size_t node);

  // Nobody restarts it but this.
  bool IsKeptDown(size_t node) const { return kept_down_[node] || OtherOnHost(node) != nullptr; }
  // That is up on the node's machine; null: nobody.
  SimNode* OtherOnHost(size_t node) const;
  // It must be removed: its data directory was replaced though it is a member, or it was added
  // where another member is.
  void OnWiped(size_t node) { must_go_[node] = true; }
  bool MustGo(size_t node) const { return must_go_[node]; }
  // A majority is lost: all are down, and stay so.
  void OnMajorityLost();
  // Whoever has a data directory may be started again; lost ones have none. `recovered`: in a new
  // history. Else nothing was lost.
  void AfterMajorityLoss(bool recovered);
  // Some node goes by a membership that is not committed.
  bool ChangeIsUnderWay() const;

 private:
  void Every(uint64_t mean_us, void (SimOperator::*act)());
  void Change() { ChangeBy(SomeLeader()); }
  void ChangeBy(SimNode* leader);
  void Transfer();
  void Add(SimNode* leader);
  void Promote(SimNode* leader);
  void Remove(SimNode* leader);
  void SetUpstream(SimNode* leader);
  void Move(SimNode* leader);
  // Asks for the change, and calls `then` with the answer: whether it was made for certain.
  void Ask(
      SimNode* leader, const MembershipChange& change, Mark made,
      std::function<void(bool)> then = [](bool) {});
  void AfterRemoval(size_t node);
  void Join(size_t node);
  // Those of the cluster's latest history.
  std::vector<const SimNode*> NodesThatCount() const;
  // One of those that take themselves for the leader; null: nobody does.
  SimNode* SomeLeader();
  bool IsMember(size_t node) const;
  std::set<std::string> HostsInUse() const;
  std::string AddressForNew(size_t node);
  bool FreeHostOf(size_t node);
  void KeepOthersOff(size_t node);
  std::optional<size_t> MemberThatMustGo() const;

  const SimContext context_;
  Nodes* const nodes_;
  Random random_;
  bool stopped_ = false;
  bool majority_is_lost_ = false;
  std::vector<bool> kept_down_before_;
  std::vector<bool> kept_down_;
  std::vector<bool> must_go_;
};

}  // namespace skein::sim
