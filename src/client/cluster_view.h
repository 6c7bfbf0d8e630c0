// What a client believes about the cluster: which nodes there are, where, who leads, how far each
// has applied. Fed by whatever a node says; answers the questions of routing. Pure: no I/O, no
// clock, not thread-safe.
//
// Invariants.
//  1. A node keeps its slot for ever; slots are dense from 0.
//  2. At most one slot that is not an alias has a given node id.
//  3. The believed leader is the one claimed in the newest term; a claim of an older term never
//     replaces it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/types.h"

namespace skein::client {

struct NodeBelief {
  std::string id;       // empty until it has told
  std::string address;  // where to reach it: `given` or `advertised`
  std::string given;    // the address by which it became known
  bool alias = false;   // a second address of a node that has a slot of its own: not used
  bool member = true;   // false: the cluster has removed it
  bool up = true;       // false: could not be reached, or did not answer in time
  bool voter = true;
  std::string advertised;  // the address that the cluster gives for it; empty: not told
  Term term;               // newest term it has spoken of
  std::string leader_id;   // whom it takes for the leader in that term; empty: nobody
  Revision applied;
  std::optional<int64_t> lag_ms;  // behind the leader; nullopt: not known
  uint32_t in_flight = 0;         // requests that wait for it, counted by the dispatcher
};

// One entry of a member list.
struct Member {
  std::string id;
  std::string address;
  bool voter = true;
  std::optional<int64_t> lag_ms;  // only from the leader
};

// What a node says about itself.
struct NodeReport {
  std::string_view node_id;
  std::string_view leader_id;  // empty: it knows of none
  Term term;
  Revision applied;
  int64_t staleness_ms = -1;
};

class ClusterView {
 public:
  // Without `discover`, no node is added to the endpoints, and none is looked for elsewhere.
  explicit ClusterView(const std::vector<std::string>& endpoints, bool discover = true);

  size_t size() const { return nodes_.size(); }
  const NodeBelief& node(size_t slot) const { return nodes_[slot]; }
  // A slot that requests may be sent to.
  bool Usable(size_t slot) const { return !nodes_[slot].alias && nodes_[slot].member; }
  bool AnyUp() const;

  // The slot of the believed leader, whether it is up or not.
  std::optional<size_t> Leader() const;
  Term term() const { return term_; }
  // Some node other than `slot` is up and takes a node other than `slot` for the leader, which is
  // not known to be down.
  bool AnotherLeaderClaimed(size_t slot) const;

  // `slot` answered with this. True if the believed leader changed.
  bool Observe(size_t slot, const NodeReport& report);
  // The member list that some node has answered with.
  void ObserveMembers(const std::vector<Member>& members);
  // An error named this leader. Its slot, new if need be; nullopt if the hint is older than what
  // is known or names nobody.
  std::optional<size_t> ObserveLeaderHint(std::string_view id, std::string_view address, Term term);

  void MarkUp(size_t slot) { nodes_[slot].up = true; }
  // Next time it is tried at its other address, if it has two.
  void MarkDown(size_t slot);
  void AddInFlight(size_t slot, int delta) { nodes_[slot].in_flight += delta; }

 private:
  std::optional<size_t> FindId(std::string_view id) const;
  std::optional<size_t> FindAddress(std::string_view address) const;
  size_t Add(std::string_view id, std::string_view address);
  void Identify(size_t slot, std::string_view id);
  bool Claim(std::string_view leader_id, Term term);

  const bool discover_;
  std::vector<NodeBelief> nodes_;
  Term term_;              // newest in which a leader was claimed
  std::string leader_id_;  // in that term; empty: none yet
};

}  // namespace skein::client
