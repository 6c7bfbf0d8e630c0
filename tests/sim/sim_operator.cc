#include "tests/sim/sim_operator.h"

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

size_t PlaceOf(NodeId id) { return id.value() - 1; }
NodeId IdOf(size_t node) { return NodeId(node + 1); }

}  // namespace

SimOperator::SimOperator(const SimContext& context, Nodes* nodes, Random random)
    : context_(context),
      nodes_(nodes),
      random_(random),
      kept_down_(nodes->size()),
      wiped_(nodes->size()) {
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

bool SimOperator::ChangeIsUnderWay() const {
  const Index committed = context_.checker->membership().index;
  return std::any_of(nodes_->begin(), nodes_->end(), [committed](const auto& node) {
    if (node->disk().membership().index > committed) return true;
    return node->alive() && node->replica()->core().memberships().newest.index > committed;
  });
}

// Of the cluster, or perhaps soon.
bool SimOperator::IsMember(size_t node) const {
  const NodeId id = IdOf(node);
  if (context_.checker->membership().membership.Find(id) != nullptr) return true;
  return std::any_of(nodes_->begin(), nodes_->end(), [id](const auto& other) {
    if (other->disk().membership().membership.Find(id) == nullptr) {
      return other->alive() && other->replica()->core().membership().Find(id) != nullptr;
    }
    return other->disk().membership().index > Index();
  });
}

std::optional<size_t> SimOperator::WipedMember() const {
  for (size_t node = 0; node < wiped_.size(); ++node) {
    const bool member = context_.checker->membership().membership.Find(IdOf(node)) != nullptr;
    if (wiped_[node] && member) return node;
  }
  return std::nullopt;
}

void SimOperator::OnLeader(size_t node) {
  if (context_.options->faults.change == 0 || !random_.Chance(0.5)) return;
  context_.scheduler->After(random_.Below(2000), [this, node] {
    SimNode* leader = (*nodes_)[node].get();
    if (!stopped_ && leader->alive() && !leader->paused()) ChangeBy(leader);
  });
}

// Null: nobody leads.
void SimOperator::ChangeBy(SimNode* leader) {
  if (leader == nullptr) return;
  if (WipedMember()) return Remove(leader);
  switch (random_.Below(6)) {
    case 0:
      return Promote(leader);
    case 1:
      return Remove(leader);
    case 2:
    case 3:
      return SetUpstream(leader);
    default:
      return Add(leader);
  }
}

void SimOperator::Add(SimNode* leader) {
  std::vector<size_t> free;
  for (size_t node = 0; node < nodes_->size(); ++node) {
    if (!IsMember(node)) free.push_back(node);
  }
  if (free.empty()) return;
  const size_t node = free[random_.Below(free.size())];
  kept_down_[node] = true;
  (*nodes_)[node]->Crash(/*power=*/false);
  if (!leader->alive()) return;  // it was the one, about to leave
  const bool voter = random_.Chance(0.6);
  const bool never_votes = !voter && random_.Chance(0.5);
  leader->Change(AddLearner{IdOf(node), NodeName(node), NodeName(node), voter, never_votes},
                 [this, node](const absl::Status& status) {
                   if (!status.ok()) context_.coverage->Count(Mark::kChangeRefused);
                   if (status.ok()) context_.coverage->Count(Mark::kMemberAdded);
                   context_.scheduler->After(random_.Below(500'000), [this, node] { Join(node); });
                 });
}

// With what it is told of the cluster, if it was added.
void SimOperator::Join(size_t node) {
  SimNode& joining = *(*nodes_)[node];
  const Membership& members = context_.checker->membership().membership;
  if (!kept_down_[node] || joining.alive() || members.Find(IdOf(node)) == nullptr) return;
  kept_down_[node] = false;
  // Some come back with what they had when they were removed.
  const bool returns = !wiped_[node] && joining.disk().hard_state.term > Term(0);
  if (returns && random_.Chance(0.4)) {
    context_.coverage->Count(Mark::kMemberReturned);
    context_.trace->Say(NodeName(node) + " has its old data directory");
    // The others refuse it in words, and it cannot know by itself.
    if (members.RequiredVersion() > joining.protocol_version()) joining.Upgrade();
  } else {
    joining.Wipe(members, /*lost=*/false);
  }
  wiped_[node] = false;
  joining.Start();
}

void SimOperator::Promote(SimNode* leader) {
  for (const Member& member : leader->replica()->core().membership().members) {
    if (member.voter || random_.Chance(0.3)) continue;
    return leader->Change(PromoteMember{member.id}, [this](const absl::Status& status) {
      context_.coverage->Count(status.ok() ? Mark::kMemberPromoted : Mark::kChangeRefused);
    });
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
  leader->Change(skein::SetUpstream{id, upstream}, [this](const absl::Status& status) {
    context_.coverage->Count(status.ok() ? Mark::kUpstreamSet : Mark::kChangeRefused);
  });
}

void SimOperator::Remove(SimNode* leader) {
  const std::vector<Member>& members = leader->replica()->core().membership().members;
  size_t node = PlaceOf(members[random_.Below(members.size())].id);
  if (const std::optional<size_t> wiped = WipedMember()) node = *wiped;
  // A voter with a damaged log does not vote, and nobody can repair it without a leader: nobody
  // takes another one away from beside it.
  const bool damage = std::any_of(nodes_->begin(), nodes_->end(),
                                  [](const auto& other) { return other->IsDamaged(); });
  if (damage && !wiped_[node]) return;
  const bool itself = node == leader->number();
  leader->Change(RemoveMember{IdOf(node)}, [this, node, itself](const absl::Status& status) {
    if (!status.ok()) return context_.coverage->Count(Mark::kChangeRefused);
    context_.coverage->Count(Mark::kMemberRemoved);
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
