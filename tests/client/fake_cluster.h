// Fake nodes that share one membership, as if replication took no time: the leader makes the
// changes that operators ask for, the others name it. Thread-safe.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/mutex.h"
#include "skein/v1/error.pb.h"
#include "tests/client/fake_node.h"

namespace skein {

// An error as a node sends it: with a detail in the trailer.
inline grpc::Status NodeError(grpc::StatusCode code, const std::string& message,
                              const v1::ErrorDetail& detail = {}) {
  v1::RichStatus rich;
  rich.set_code(code);
  rich.set_message(message);
  rich.add_details()->PackFrom(detail);
  return grpc::Status(code, message, rich.SerializeAsString());
}

class FakeCluster {
 public:
  using Change = FakeNode::Change;
  // What the leader does with a change instead of making it; nullopt: it makes it.
  using Intervention = std::function<std::optional<grpc::Status>(const Change&)>;

  // n1, n2, ... are voters, and n1 leads.
  explicit FakeCluster(int nodes) {
    for (int i = 1; i <= nodes; ++i) StartNode("n" + std::to_string(i));
    MutexLock lock(&mu_);
    for (const auto& [id, node] : nodes_) {
      members_[id].set_id(id);
      members_[id].set_address(node->address());
      members_[id].set_voter(true);
      members_[id].set_connected(true);
    }
    leader_ = "n1";
    Tell();
  }

  // A process that knows of the cluster, member or not.
  FakeNode& StartNode(const std::string& id) {
    auto node = std::make_unique<FakeNode>(id);
    FakeNode* const it = node.get();
    it->SetScript(store_.Serve(it));
    it->SetOperatorScripts(
        [this, id](const Change& change, v1::MembersResponse* members) {
          return Make(id, change, members);
        },
        [this, id](const std::string& target, v1::TransferResponse* response) {
          return Transfer(id, target, response);
        });
    MutexLock lock(&mu_);
    nodes_[id] = std::move(node);
    Tell();
    return *it;
  }

  FakeNode& node(const std::string& id) {
    MutexLock lock(&mu_);
    return *nodes_.at(id);
  }
  std::string Endpoints(const std::vector<std::string>& ids) {
    std::string endpoints;
    for (const std::string& id : ids)
      endpoints += (endpoints.empty() ? "" : ",") + node(id).address();
    return endpoints;
  }

  // The process of a node ends, and another one begins at a free address.
  FakeNode& Replace(const std::string& id) {
    node(id).Stop();
    {
      MutexLock lock(&mu_);
      stopped_.push_back(std::move(nodes_.at(id)));
    }
    return StartNode(id);
  }

  // Nodes that are `kept` do not hear of it.
  void Elect(const std::string& id, const std::vector<std::string>& kept = {}) {
    MutexLock lock(&mu_);
    leader_ = id;
    ++term_;
    Tell(kept);
  }
  std::string leader() {
    MutexLock lock(&mu_);
    return leader_;
  }

  // Made behind the back of whoever calls the nodes.
  void Apply(const Change& change, const std::vector<std::string>& kept = {}) {
    MutexLock lock(&mu_);
    MakeLocked(change);
    Tell(kept);
  }
  // How far a member is, as the leader sees it.
  void SetCatchUp(const std::string& id, const v1::CatchUp& catch_up) {
    MutexLock lock(&mu_);
    members_[id].set_connected(true);
    *members_[id].mutable_catch_up() = catch_up;
    Tell();
  }
  // The leader promotes those that wait for it.
  void SetLevel(const std::string& id) {
    MutexLock lock(&mu_);
    members_[id].set_connected(true);
    members_[id].clear_catch_up();
    if (promote_when_level_[id]) MakeLocked({Change::Kind::kPromote, id});
    Tell();
  }
  void SetCommitted(bool committed) {
    MutexLock lock(&mu_);
    committed_ = committed;
    Tell();
  }
  void Intervene(Intervention intervention) {
    MutexLock lock(&mu_);
    intervention_ = std::move(intervention);
  }

  // `n1 n2 n3 (n4)`: learners are in brackets.
  std::string Members() {
    MutexLock lock(&mu_);
    std::string text;
    for (const auto& [id, member] : members_) {
      text += (text.empty() ? "" : " ") + (member.voter() ? id : "(" + id + ")");
    }
    return text;
  }
  void WaitForMembers(const std::string& members) {
    SKEIN_CHECK(WaitUntil(std::chrono::seconds(20), [&] { return Members() == members; }));
  }
  // Changes that a leader was asked for, refused ones included.
  int asked() {
    MutexLock lock(&mu_);
    return asked_;
  }

 private:
  grpc::Status NotLeader() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    v1::ErrorDetail detail;
    detail.set_reason(v1::NOT_LEADER);
    detail.set_term(term_);
    detail.set_leader_id(leader_);
    if (nodes_.contains(leader_)) detail.set_leader_address(nodes_[leader_]->address());
    return NodeError(grpc::StatusCode::UNAVAILABLE, "not the leader", detail);
  }

  grpc::Status Make(const std::string& at, const Change& change, v1::MembersResponse* members) {
    Intervention intervention;
    {
      MutexLock lock(&mu_);
      if (at != leader_) return NotLeader();
      ++asked_;
      intervention = intervention_;
    }
    if (intervention) {
      if (const auto status = intervention(change); status.has_value()) return *status;
    }
    MutexLock lock(&mu_);
    const auto found = members_.find(change.id);
    if (change.kind == Change::Kind::kAdd) {
      if (found != members_.end()) {
        return NodeError(grpc::StatusCode::ALREADY_EXISTS, change.id + " is a member already");
      }
    } else if (found == members_.end()) {
      return NodeError(grpc::StatusCode::NOT_FOUND, "there is no such member");
    } else if (change.kind == Change::Kind::kPromote && found->second.voter()) {
      return NodeError(grpc::StatusCode::ALREADY_EXISTS, change.id + " is a voter already");
    } else if (change.kind == Change::Kind::kMove && found->second.address() == change.address) {
      return NodeError(grpc::StatusCode::ALREADY_EXISTS, change.id + " is there already");
    }
    MakeLocked(change);
    Tell();
    *members = List();
    return grpc::Status::OK;
  }

  void MakeLocked(const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    ++index_;
    v1::MemberStatus& member = members_[change.id];
    switch (change.kind) {
      case Change::Kind::kAdd:
        member.set_id(change.id);
        member.set_address(change.address);
        member.mutable_catch_up()->set_way(v1::CatchUp::WAY_LOG);
        promote_when_level_[change.id] = change.promote_when_level;
        break;
      case Change::Kind::kPromote:
        member.set_voter(true);
        promote_when_level_.erase(change.id);
        break;
      case Change::Kind::kRemove:
        members_.erase(change.id);
        promote_when_level_.erase(change.id);
        break;
      case Change::Kind::kMove:
        member.set_address(change.address);
        break;
    }
  }

  grpc::Status Transfer(const std::string& at, const std::string& target,
                        v1::TransferResponse* response) {
    MutexLock lock(&mu_);
    if (at != leader_) return NotLeader();
    if (target == leader_) {
      return NodeError(grpc::StatusCode::ALREADY_EXISTS, target + " leads already");
    }
    std::string next = target;
    for (const auto& [id, member] : members_) {
      if (next.empty() && id != leader_ && member.voter()) next = id;
    }
    if (!members_.contains(next) || !members_[next].voter()) {
      return NodeError(grpc::StatusCode::FAILED_PRECONDITION, next + " is not a voter");
    }
    leader_ = next;
    ++term_;
    Tell();
    response->set_leader_id(leader_);
    response->set_term(term_);
    response->set_pause_us(12'345);
    return grpc::Status::OK;
  }

  v1::MembersResponse List() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    v1::MembersResponse list;
    list.set_node_id(leader_);
    list.set_cluster_id("0123456789abcdef");
    list.set_cluster_token("skein");
    list.set_membership_index(index_);
    list.set_committed(committed_);
    for (const auto& [id, status] : members_) {
      v1::Member* member = list.add_members();
      member->set_id(id);
      member->set_address(status.address());
      member->set_voter(status.voter());
      member->set_promote_when_level(promote_when_level_.contains(id) && promote_when_level_[id]);
      if (status.connected()) member->set_incarnation("00000000000000" + id);
    }
    return list;
  }

  void Tell(const std::vector<std::string>& kept = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<v1::MemberStatus> members;
    for (const auto& [id, member] : members_) members.push_back(member);
    for (const auto& [id, node] : nodes_) {
      if (std::find(kept.begin(), kept.end(), id) != kept.end()) continue;
      node->SetMembers(members, List());
      node->SetLeader(leader_, term_);
    }
  }

  FakeStore store_;
  Mutex mu_;
  std::map<std::string, v1::MemberStatus> members_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, bool> promote_when_level_ ABSL_GUARDED_BY(mu_);
  std::string leader_ ABSL_GUARDED_BY(mu_);
  uint64_t term_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t index_ ABSL_GUARDED_BY(mu_) = 0;
  bool committed_ ABSL_GUARDED_BY(mu_) = true;
  int asked_ ABSL_GUARDED_BY(mu_) = 0;
  Intervention intervention_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::unique_ptr<FakeNode>> nodes_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<FakeNode>> stopped_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
