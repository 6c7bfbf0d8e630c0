#include "client/cluster_view.h"

#include <algorithm>

namespace skein::client {

ClusterView::ClusterView(const std::vector<std::string>& endpoints, bool discover)
    : discover_(discover) {
  for (const std::string& endpoint : endpoints) {
    if (!FindAddress(endpoint).has_value()) nodes_[Add("", endpoint)].endpoint = true;
  }
}

bool ClusterView::AnyUp() const {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (Usable(i) && nodes_[i].up) return true;
  }
  return false;
}

std::optional<size_t> ClusterView::Leader() const {
  if (leader_id_.empty()) return std::nullopt;
  return FindId(leader_id_);
}

bool ClusterView::AnotherLeaderClaimed(size_t slot) const {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const NodeBelief& node = nodes_[i];
    if (i == slot || !Usable(i) || !node.up || node.leader_id.empty()) continue;
    const std::optional<size_t> claimed = FindId(node.leader_id);
    if (claimed != slot && (!claimed.has_value() || nodes_[*claimed].up)) return true;
  }
  return false;
}

// Another cluster id is of a later history, or of an earlier one, or of another cluster.
bool ClusterView::Belongs(const NodeReport& report) {
  if (report.cluster_id == cluster_id_) return true;
  const uint64_t id_of_name = report.cluster_id ^ report.history;
  if (cluster_id_ != 0) {
    const bool later = HistoryOf(report.term) > HistoryOf(term_);
    if (id_of_name != id_of_name_ || !later) return false;
    BeginHistory();
  }
  cluster_id_ = report.cluster_id;
  id_of_name_ = id_of_name;
  return true;
}

// Nothing that was believed of the one before is true of this.
void ClusterView::BeginHistory() {
  term_ = Term();
  leader_id_.clear();
  members_at_ = Index();
  for (NodeBelief& node : nodes_) {
    node.catching_up = false;
    node.term = Term();
    node.leader_id.clear();
    node.applied = Revision();
    node.lag_ms.reset();
  }
}

bool ClusterView::Observe(size_t slot, const NodeReport& report) {
  if (report.cluster_id != 0) nodes_[slot].foreign = !Belongs(report);
  if (nodes_[slot].foreign) {
    MarkDown(slot);  // where it is advertised there may be another node of its name
    return false;
  }
  if (!report.node_id.empty() && nodes_[slot].id != report.node_id) {
    Identify(slot, report.node_id);
  }
  NodeBelief& node = nodes_[slot];
  node.up = true;
  if (report.term >= node.term) {
    node.term = report.term;
    node.leader_id.assign(report.leader_id);
  }
  node.applied = std::max(node.applied, report.applied);
  if (report.staleness_ms >= 0) node.lag_ms = report.staleness_ms;
  if (report.node_id.empty() || report.term < term_) return Claim(report.leader_id, report.term);
  // A node knows best whether it leads itself; others may have been told of an earlier term.
  const bool leads = report.leader_id == report.node_id;
  const bool believed = leader_id_ == report.node_id;
  if (report.term == term_ && leads != believed && (leads || believed)) leader_id_.clear();
  return Claim(report.leader_id, report.term);
}

void ClusterView::ObserveMembers(const MemberList& list) {
  if (list.members.empty() || list.index < members_at_) return;
  members_at_ = list.index;
  for (NodeBelief& node : nodes_) {
    if (!node.id.empty()) node.member = false;
  }
  for (const Member& member : list.members) {
    if (member.id.empty()) continue;
    const std::optional<size_t> slot = SlotOf(member);
    if (!slot.has_value()) continue;
    NodeBelief& node = nodes_[*slot];
    node.member = true;
    node.voter = member.voter;
    Advertise(member.address, &node);
    if (member.lag_ms.has_value()) node.lag_ms = member.lag_ms;
    if (member.catching_up.has_value()) node.catching_up = *member.catching_up;
  }
}

std::optional<size_t> ClusterView::SlotOf(const Member& member) {
  std::optional<size_t> slot = FindId(member.id);
  if (slot.has_value()) return slot;
  // An endpoint that has not answered yet may be this very node.
  slot = FindAddress(member.address);
  if (slot.has_value() && nodes_[*slot].id.empty()) {
    Identify(*slot, member.id);
    return slot;
  }
  if (!discover_) return std::nullopt;
  return Add(member.id, member.address);
}

// While the address in use works it is kept, though the cluster may have moved the node.
void ClusterView::Advertise(const std::string& address, NodeBelief* node) {
  node->advertised = address;
  if (node->endpoint || node->given == address) return;
  node->given = address;
  if (!node->up) node->address = address;
}

std::optional<size_t> ClusterView::ObserveLeaderHint(std::string_view id, std::string_view address,
                                                     Term term) {
  if (id.empty() || term < term_) return std::nullopt;
  // That there is a later history is for a node to tell that is in it.
  if (cluster_id_ != 0 && HistoryOf(term) != HistoryOf(term_)) return std::nullopt;
  std::optional<size_t> slot = FindId(id);
  if (!slot.has_value()) {
    if (address.empty()) return std::nullopt;
    slot = FindAddress(address);
    if (slot.has_value() && nodes_[*slot].id.empty()) {
      Identify(*slot, id);
      slot = FindId(id);
    } else if (!discover_) {
      return std::nullopt;
    } else {
      slot = Add(id, address);
    }
  }
  Claim(id, term);
  return slot;
}

void ClusterView::MarkDown(size_t slot) {
  NodeBelief& node = nodes_[slot];
  node.up = false;
  if (!discover_ || node.advertised.empty()) return;
  node.address = node.address == node.advertised ? node.given : node.advertised;
}

std::optional<size_t> ClusterView::FindId(std::string_view id) const {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].alias && nodes_[i].id == id) return i;
  }
  return std::nullopt;
}

std::optional<size_t> ClusterView::FindAddress(std::string_view address) const {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].address == address) return i;
  }
  return std::nullopt;
}

size_t ClusterView::Add(std::string_view id, std::string_view address) {
  NodeBelief node;
  node.id = id;
  node.address = address;
  node.given = address;
  nodes_.push_back(std::move(node));
  return nodes_.size() - 1;
}

void ClusterView::Identify(size_t slot, std::string_view id) {
  const std::optional<size_t> owner = FindId(id);
  if (owner.has_value() && *owner != slot) {
    // Two addresses for one node. The one that just answered is known to work.
    NodeBelief& kept = nodes_[*owner];
    if (!kept.up) {
      kept.address = nodes_[slot].address;
      kept.given = nodes_[slot].address;
    } else if (nodes_[slot].endpoint && !kept.endpoint) {
      kept.given = nodes_[slot].given;
    }
    kept.endpoint = kept.endpoint || nodes_[slot].endpoint;
    nodes_[slot].alias = true;
    nodes_[slot].id = id;
    return;
  }
  // The address may have belonged to another node before: forget what that one said.
  NodeBelief fresh;
  fresh.id = id;
  fresh.address = nodes_[slot].address;
  fresh.given = nodes_[slot].given;
  fresh.endpoint = nodes_[slot].endpoint;
  fresh.in_flight = nodes_[slot].in_flight;
  nodes_[slot] = std::move(fresh);
}

bool ClusterView::Claim(std::string_view leader_id, Term term) {
  if (term < term_) return false;
  if (term == term_ && (leader_id.empty() || !leader_id_.empty())) return false;
  // A newer term without a leader means an election: the old leader is no longer believed in.
  term_ = term;
  const bool changed = leader_id_ != leader_id;
  leader_id_.assign(leader_id);
  return changed;
}

}  // namespace skein::client
