#include "tests/sim/sim_operator.h"

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

size_t PlaceOf(NodeId id) { return id.value() - 1; }
NodeId IdOf(size_t node) { return NodeId(node + 1); }

// Whether a membership is what the change would make of one.
struct Shows {
  const Membership& membership;

  bool operator()(const AddLearner& change) const { return Of(change.id) != nullptr; }
  bool operator()(const RemoveMember& change) const { return Of(change.id) == nullptr; }
  bool operator()(const PromoteMember& change) const {
    return Of(change.id) != nullptr && Of(change.id)->voter;
  }
  bool operator()(const MoveMember& change) const {
    return Of(change.id) != nullptr && Of(change.id)->address == change.address;
  }
  bool operator()(const skein::SetUpstream& change) const {
    return Of(change.id) != nullptr && Of(change.id)->upstream == change.upstream;
  }
  bool operator()(const RecordIncarnation& change) const {
    return Of(change.id) != nullptr && Of(change.id)->incarnation == change.incarnation;
  }

  const Member* Of(NodeId id) const { return membership.Find(id); }
};

}  // namespace

SimOperator::SimOperator(const SimContext& context, Nodes* nodes, Random random)
    : context_(context),
      nodes_(nodes),
      random_(random),
      kept_down_(nodes->size()),
      must_go_(nodes->size()) {
  for (const auto& node : *nodes) kept_down_[node->number()] = !node->born();
}

void SimOperator::Start() {
  Every(context_.options->faults.change, &SimOperator::Change);
  Every(context_.options->faults.transfer, &SimOperator::Transfer);
}

void SimOperator::Stop() {
  stopped_ = true;
  for (size_t node = 0; node < nodes_->size(); ++node) Join(node);
}

void SimOperator::Every(uint64_t mean_us, void (SimOperator::*act)()) {
  if (mean_us == 0) return;
  context_.scheduler->After(Exponential(&random_, mean_us), [this, mean_us, act] {
    if (stopped_) return;
    (this->*act)();
    Every(mean_us, act);
  });
}

SimNode* SimOperator::SomeLeader() {
  std::vector<SimNode*> leaders;
  for (const auto& node : *nodes_) {
    const bool leads = node->alive() && node->replica()->core().role() == Role::kLeader;
    if (leads && !node->paused()) leaders.push_back(node.get());
  }
  return leaders.empty() ? nullptr : leaders[random_.Below(leaders.size())];
}

void SimOperator::OnMajorityLost() {
  majority_is_lost_ = true;
  kept_down_before_ = std::exchange(kept_down_, std::vector<bool>(nodes_->size(), true));
  for (const auto& node : *nodes_) node->Crash(/*power=*/false);
}

void SimOperator::AfterMajorityLoss(bool recovered) {
  majority_is_lost_ = false;
  kept_down_ = std::move(kept_down_before_);
  if (!recovered) return;
  for (const auto& node : *nodes_) kept_down_[node->number()] = !node->born();
  for (const auto& node : *nodes_) {
    if (IsMember(node->number())) KeepOthersOff(node->number());
  }
  must_go_.assign(nodes_->size(), false);
}

std::vector<const SimNode*> SimOperator::NodesThatCount() const {
  std::vector<const SimNode*> nodes;
  for (const auto& node : *nodes_) {
    if (context_.checker->Counts(node->number())) nodes.push_back(node.get());
  }
  return nodes;
}

bool SimOperator::ChangeIsUnderWay() const {
  const Index committed = context_.checker->membership().index;
  const auto nodes = NodesThatCount();
  return std::any_of(nodes.begin(), nodes.end(), [committed](const SimNode* node) {
    if (node->disk().membership().index > committed) return true;
    return node->alive() && node->replica()->core().memberships().newest.index > committed;
  });
}

// Of the cluster, or perhaps soon.
bool SimOperator::IsMember(size_t node) const {
  const NodeId id = IdOf(node);
  if (context_.checker->membership().membership.Find(id) != nullptr) return true;
  const auto nodes = NodesThatCount();
  return std::any_of(nodes.begin(), nodes.end(), [id](const SimNode* other) {
    if (other->disk().membership().membership.Find(id) == nullptr) {
      return other->alive() && other->replica()->core().membership().Find(id) != nullptr;
    }
    return other->disk().membership().index > Index();
  });
}

SimNode* SimOperator::OtherOnHost(size_t node) const {
  for (const auto& other : *nodes_) {
    const bool there = other->alive() && other->host() == (*nodes_)[node]->host();
    if (there && other->number() != node) return other.get();
  }
  return nullptr;
}

// By members of the cluster, or perhaps soon.
std::set<std::string> SimOperator::HostsInUse() const {
  std::set<std::string> hosts;
  const auto add = [&hosts](const Membership& membership) {
    for (const Member& member : membership.members) hosts.insert(HostOf(member.address));
  };
  add(context_.checker->membership().membership);
  for (const SimNode* node : NodesThatCount()) {
    if (node->disk().membership().index > Index()) add(node->disk().membership().membership);
    if (node->alive()) add(node->replica()->core().membership());
  }
  return hosts;
}

// Its own machine's, one's that belongs to no member now, or by mistake a member's. Empty: all
// machines are in use.
std::string SimOperator::AddressForNew(size_t node) {
  const std::vector<Member>& members = context_.checker->membership().membership.members;
  if (random_.Chance(0.05)) return members[random_.Below(members.size())].address;
  const std::set<std::string> in_use = HostsInUse();
  std::vector<std::string> free;
  for (size_t other = 0; other < nodes_->size(); ++other) {
    if (in_use.count(NodeName(other)) == 0) free.push_back(NodeName(other));
  }
  if (free.empty()) return "";
  const bool own = in_use.count(NodeName(node)) == 0 && random_.Chance(0.5);
  return own ? NodeName(node) : free[random_.Below(free.size())];
}

std::optional<size_t> SimOperator::MemberThatMustGo() const {
  for (size_t node = 0; node < must_go_.size(); ++node) {
    const bool member = context_.checker->membership().membership.Find(IdOf(node)) != nullptr;
    if (must_go_[node] && member) return node;
  }
  return std::nullopt;
}

void SimOperator::OnLeader(size_t node) {
  if (context_.options->faults.change == 0 || !random_.Chance(0.5)) return;
  context_.scheduler->After(random_.Below(2000), [this, node] {
    SimNode* leader = (*nodes_)[node].get();
    if (stopped_ || !leader->alive() || leader->paused()) return;
    // What changes the quorums is the worst that can be asked for now.
    if (MemberThatMustGo() || random_.Chance(0.3)) return ChangeBy(leader);
    random_.Chance(0.5) ? Promote(leader) : Remove(leader);
  });
}

// Null: nobody leads.
void SimOperator::ChangeBy(SimNode* leader) {
  if (leader == nullptr) return;
  if (MemberThatMustGo()) return Remove(leader);
  switch (random_.Below(7)) {
    case 0:
      return Promote(leader);
    case 1:
      return Remove(leader);
    case 2:
    case 3:
      return SetUpstream(leader);
    case 4:
      return Move(leader);
    default:
      return Add(leader);
  }
}

// What an operator is told to have been made was committed after it was asked for.
void SimOperator::Ask(SimNode* leader, const MembershipChange& change, Mark made,
                      std::function<void(bool)> then) {
  const size_t before = context_.checker->memberships().size();
  const auto check = [this, change, before] {
    const std::vector<Membership>& all = context_.checker->memberships();
    const bool true_since = std::any_of(
        all.begin() + static_cast<std::ptrdiff_t>(before), all.end(),
        [&change](const Membership& membership) { return std::visit(Shows{membership}, change); });
    if (!true_since)
      context_.checker->Violate("an operator was told of a change that was not made");
  };
  leader->Change(change, [this, check, made, then = std::move(then)](const absl::Status& status) {
    context_.coverage->Count(status.ok() ? made : Mark::kChangeRefused);
    // When the checker has seen what the node has performed.
    if (status.ok()) context_.scheduler->After(1, check);
    then(status.ok());
  });
}

void SimOperator::Add(SimNode* leader) {
  std::vector<size_t> free;
  for (size_t node = 0; node < nodes_->size(); ++node) {
    if (!IsMember(node)) free.push_back(node);
  }
  if (free.empty()) return;
  const size_t node = free[random_.Below(free.size())];
  const std::string address = AddressForNew(node);
  if (address.empty()) return;
  kept_down_[node] = true;
  (*nodes_)[node]->Crash(/*power=*/false);
  if (!leader->alive()) return;  // it was the one, about to leave
  const bool voter = random_.Chance(0.6);
  const bool never_votes = !voter && random_.Chance(0.5);
  Ask(leader, AddLearner{IdOf(node), NodeName(node), address, voter, never_votes},
      Mark::kMemberAdded, [this, node](bool) {
        context_.scheduler->After(random_.Below(500'000), [this, node] { Join(node); });
      });
}

// Who was removed may still be there, and knocks. False: it stays for now.
bool SimOperator::FreeHostOf(size_t node) {
  SimNode* other = OtherOnHost(node);
  if (other == nullptr) return true;
  // It has moved to its machine's other address just before this one was given away.
  const bool stays = IsMember(other->number());
  if (stays) must_go_[node] = true;
  if (stays || (!stopped_ && random_.Chance(0.7))) return false;
  context_.trace->Say(other->host() + " is needed for " + NodeName(node));
  kept_down_[other->number()] = true;
  other->Crash(/*power=*/false);
  return true;
}

// Whoever was on the node's machine before, and is no member, does not come back there.
void SimOperator::KeepOthersOff(size_t node) {
  for (const auto& other : *nodes_) {
    const bool there = other->host() == (*nodes_)[node]->host() && other->number() != node;
    if (there && !IsMember(other->number())) kept_down_[other->number()] = true;
  }
}

// With what it is told of the cluster, if it was added.
void SimOperator::Join(size_t node) {
  if (majority_is_lost_) {
    return context_.scheduler->After(random_.Below(1'000'000), [this, node] { Join(node); });
  }
  SimNode& joining = *(*nodes_)[node];
  const Membership& members = context_.checker->membership().membership;
  const Member* member = members.Find(IdOf(node));
  if (!kept_down_[node] || joining.alive() || member == nullptr) return;
  joining.MoveTo(HostOf(member->address));
  if (joining.host() != NodeName(node)) context_.coverage->Count(Mark::kAddressTakenOver);
  if (!FreeHostOf(node)) {
    return context_.scheduler->After(random_.Below(1'000'000), [this, node] { Join(node); });
  }
  KeepOthersOff(node);
  kept_down_[node] = false;
  // Some come back with what they had when they were removed.
  const bool returns =
      !must_go_[node] && joining.disk().hard_state.term > Term(0) && context_.checker->Counts(node);
  if (returns && random_.Chance(0.4)) {
    context_.coverage->Count(Mark::kMemberReturned);
    context_.trace->Say(NodeName(node) + " has its old data directory");
    // The others refuse it in words, and it cannot know by itself.
    if (members.RequiredVersion() > joining.protocol_version()) joining.Upgrade();
  } else {
    joining.Wipe(members, /*lost=*/false);
  }
  must_go_[node] = false;
  joining.Start();
}

void SimOperator::Promote(SimNode* leader) {
  for (const Member& member : leader->replica()->core().membership().members) {
    if (member.voter || random_.Chance(0.3)) continue;
    return Ask(leader, PromoteMember{member.id}, Mark::kMemberPromoted);
  }
}

// Of a learner more often than not.
void SimOperator::SetUpstream(SimNode* leader) {
  const std::vector<Member>& members = leader->replica()->core().membership().members;
  NodeId id = members[random_.Below(members.size())].id;
  for (const Member& member : members) {
    if (!member.voter && random_.Chance(0.6)) id = member.id;
  }
  const NodeId upstream =
      random_.Chance(0.1) ? NodeId() : members[random_.Below(members.size())].id;
  Ask(leader, skein::SetUpstream{id, upstream}, Mark::kUpstreamSet);
}

// To another address of its machine, and back the next time.
void SimOperator::Move(SimNode* leader) {
  const std::vector<Member>& members = leader->replica()->core().membership().members;
  const Member& member = members[random_.Below(members.size())];
  const std::string host = HostOf(member.address);
  const bool moved = member.address != host;
  Ask(leader, MoveMember{member.id, moved ? host : host + "-moved"}, Mark::kMemberMoved);
}

void SimOperator::Remove(SimNode* leader) {
  const std::vector<Member>& members = leader->replica()->core().membership().members;
  size_t node = PlaceOf(members[random_.Below(members.size())].id);
  if (const std::optional<size_t> lost = MemberThatMustGo()) node = *lost;
  // A voter with a damaged log does not vote, and nobody can repair it without a leader: nobody
  // takes another one away from beside it.
  const auto nodes = NodesThatCount();
  const bool damage = std::any_of(nodes.begin(), nodes.end(),
                                  [](const SimNode* other) { return other->IsDamaged(); });
  if (damage && !must_go_[node]) return;
  const bool itself = node == leader->number();
  const bool force = random_.Chance(0.2);
  Ask(leader, RemoveMember{IdOf(node), force}, Mark::kMemberRemoved,
      [this, node, itself, force](bool made) {
        if (!made) return;
        if (force) context_.coverage->Count(Mark::kMemberRemovedByForce);
        if (itself) context_.coverage->Count(Mark::kLeaderRemoved);
        context_.scheduler->After(random_.Below(1'000'000), [this, node] { AfterRemoval(node); });
      });
}

// It is switched off, or goes on to knock.
void SimOperator::AfterRemoval(size_t node) {
  if (stopped_ || IsMember(node) || random_.Chance(0.5)) return;
  kept_down_[node] = true;
  (*nodes_)[node]->Crash(/*power=*/false);
}

void SimOperator::Transfer() {
  SimNode* leader = SomeLeader();
  if (leader == nullptr) return;
  const std::vector<Member>& members = leader->replica()->core().membership().members;
  const NodeId target = random_.Chance(0.5) ? NodeId() : members[random_.Below(members.size())].id;
  leader->Transfer(target, [this](const absl::Status& status) {
    if (status.ok()) context_.coverage->Count(Mark::kTransfer);
    if (absl::IsDeadlineExceeded(status)) context_.coverage->Count(Mark::kTransferGivenUp);
  });
}

}  // namespace skein::sim
