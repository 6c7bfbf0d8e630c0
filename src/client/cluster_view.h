// What a client believes about the cluster: which nodes there are, where, who leads, how far each
// has applied. Fed by whatever a node says; answers the questions of routing. Pure: no I/O, no
// clock, not thread-safe.
//
// Members come and go. A node that the cluster has removed gets no requests and is asked nothing
// any more, unless the user has named it: its address may be the only way back to a cluster that
// has changed altogether.
//
// Invariants.
//  1. A node keeps its slot for ever; slots are dense from 0.
//  2. At most one slot that is not an alias has a given node id.
//  3. The believed leader is the one claimed in the newest term; a claim of an older term never
//     replaces it.
//  4. A member list replaces another only if the log has seen as many changes. Nodes list what is
//     committed, of which there is one history.
//  5. That is the latest history which any node has told of (R35), and of one cluster only. Who
//     belongs to another is not used, and nothing that it says is believed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/types.h"

namespace skein::client {

struct NodeBelief {
  std::string id;         // empty until it has told
  std::string address;    // where to reach it: `given` or `advertised`
  std::string given;      // the address by which it became known
  bool endpoint = false;  // named by the user
  bool alias = false;     // a second address of a node that has a slot of its own: not used
  bool member = true;     // false: the cluster has removed it
  bool foreign = false;   // of another cluster, or left behind by a recovery
  bool up = true;         // false: could not be reached, or did not answer in time
  bool voter = true;
  bool catching_up = false;  // far behind, the leader says
  std::string advertised;    // the address that the cluster gives for it; empty: not told
  Term term;                 // newest term it has spoken of
  std::string leader_id;     // whom it takes for the leader in that term; empty: nobody
  Revision applied;
  std::optional<int64_t> lag_ms;  // behind the leader; nullopt: not known
  uint32_t in_flight = 0;         // requests that wait for it, counted by the dispatcher
};

// One entry of a member list.
struct Member {
  std::string id;
  std::string address;
  bool voter = true;
  std::optional<int64_t> lag_ms;    // only from the leader
  std::optional<bool> catching_up;  // only from the leader
};

struct MemberList {
  std::vector<Member> members;
  Index index;  // of the committed entry that made it so
};

// What a node says about itself.
struct NodeReport {
  std::string_view node_id;
  std::string_view leader_id;  // empty: it knows of none
  Term term;
  Revision applied;
  int64_t staleness_ms = -1;
  uint64_t cluster_id = 0;  // another one in each history; 0: not told
  uint64_t history = 0;     // 0: no majority was ever lost
};

class ClusterView {
 public:
  // Without `discover`, no node is added to the endpoints, and none is looked for elsewhere.
  explicit ClusterView(const std::vector<std::string>& endpoints, bool discover = true);

  size_t size() const { return nodes_.size(); }
  const NodeBelief& node(size_t slot) const { return nodes_[slot]; }
  // A slot that requests may be sent to.
  bool Usable(size_t slot) const {
    return !nodes_[slot].alias && nodes_[slot].member && !nodes_[slot].foreign;
  }
  // A slot that is asked how it and the cluster are.
  bool Asked(size_t slot) const {
    return !nodes_[slot].alias && (nodes_[slot].member || nodes_[slot].endpoint);
  }
  bool AnyUp() const;

  // The slot of the believed leader, whether it is up or not.
  std::optional<size_t> Leader() const;
  Term term() const { return term_; }
  // Of the cluster in its latest history; 0: nobody has told.
  uint64_t cluster_id() const { return cluster_id_; }
  // Some node other than `slot` is up and takes a node other than `slot` for the leader, which is
  // not known to be down.
  bool AnotherLeaderClaimed(size_t slot) const;

  // `slot` answered with this. True if the believed leader changed. Whatever else a foreign slot
  // has answered with is not to be observed.
  bool Observe(size_t slot, const NodeReport& report);
  // The member list that some node has answered with.
  void ObserveMembers(const MemberList& list);
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
  // The slot of a member, new if need be; nullopt: it has none, and may not get one.
  std::optional<size_t> SlotOf(const Member& member);
  static void Advertise(const std::string& address, NodeBelief* node);
  void Identify(size_t slot, std::string_view id);
  bool Claim(std::string_view leader_id, Term term);
  bool Belongs(const NodeReport& report);
  void BeginHistory();

  const bool discover_;
  std::vector<NodeBelief> nodes_;
  uint64_t cluster_id_ = 0;
  uint64_t id_of_name_ = 0;  // the same in all histories
  Term term_;                // newest in which a leader was claimed
  std::string leader_id_;    // in that term; empty: none yet
  Index members_at_;         // of the member list in force
};

}  // namespace skein::client
