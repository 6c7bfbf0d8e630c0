#include "tests/sim/nemesis.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

constexpr uint64_t kForEver = ~uint64_t{0} >> 1;

template <typename T>
void Shuffle(std::vector<T>* items, Random* random) {
  for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[random->Below(i)]);
}

}  // namespace

Nemesis::Nemesis(const SimContext& context, Nodes* nodes, SimOperator* keeper, SimNetwork* network,
                 SimRpc* rpc, Random random)
    : context_(context),
      nodes_(nodes),
      keeper_(keeper),
      network_(network),
      rpc_(rpc),
      random_(random),
      stays_down_(nodes->size()) {}

void Nemesis::Start() {
  const FaultRates& rates = context_.options->faults;
  Every(rates.crash, &Nemesis::Crash);
  Every(rates.crash_all, &Nemesis::CrashAll);
  Every(rates.power, &Nemesis::LosePower);
  Every(rates.pause, &Nemesis::Pause);
  Every(rates.partition, &Nemesis::Partition);
  Every(rates.isolate, &Nemesis::Isolate);
  Every(rates.one_way, &Nemesis::CutOneWay);
  Every(rates.clog, &Nemesis::Clog);
  Every(rates.swizzle, &Nemesis::Swizzle);
  Every(rates.stream_break, &Nemesis::BreakStream);
  Every(rates.garble, &Nemesis::Garble);
  Every(rates.disk_stall, &Nemesis::StallDisk);
  Every(rates.disk_error, &Nemesis::FailDisk);
  Every(rates.disk_full, &Nemesis::FillDisk);
  Every(rates.damage, &Nemesis::Damage);
  Every(rates.wall_jump, &Nemesis::JumpWallClock);
  Every(rates.client_cut, &Nemesis::CutClient);
  Every(rates.upstream_cut, &Nemesis::CutUpstream);
  Every(rates.wipe, &Nemesis::Wipe);
  Every(rates.terminate, &Nemesis::Terminate);
  for (size_t node = 0; node < nodes_->size(); ++node) ReviveLater(node);
}

void Nemesis::Every(uint64_t mean_us, Strike strike) {
  if (mean_us == 0) return;
  context_.scheduler->After(Exponential(&random_, mean_us), [this, mean_us, strike] {
    if (stopped_) return;
    (this->*strike)();
    Every(mean_us, strike);
  });
}

// Undoes what was done after some time, unless everything was healed before.
void Nemesis::Until(uint64_t mean_us, std::function<void()> undo) {
  if (random_.Chance(0.5)) mean_us /= 10;
  context_.scheduler->After(Exponential(&random_, mean_us), [this, undo = std::move(undo)] {
    if (!stopped_) undo();
  });
}

void Nemesis::ReviveLater(size_t node) {
  context_.scheduler->After(Exponential(&random_, context_.options->revive_mean_us), [this, node] {
    SimNode& target = *(*nodes_)[node];
    const bool down = !target.alive() && !keeper_->IsKeptDown(node);
    if (down && !stays_down_[node]) target.Start();
    ReviveLater(node);
  });
}

size_t Nemesis::OtherThan(size_t node) {
  const size_t other = random_.Below(nodes_->size() - 1);
  return other < node ? other : other + 1;
}

size_t Nemesis::LeaderOrAny() {
  std::vector<size_t> leaders;
  for (const auto& node : *nodes_) {
    if (node->alive() && node->replica()->core().role() == Role::kLeader) {
      leaders.push_back(node->number());
    }
  }
  if (leaders.empty() || random_.Chance(0.4)) return AnyNode();
  return leaders[random_.Below(leaders.size())];
}

uint64_t Nemesis::ElectionMicros() const {
  const CoreOptions& core = context_.options->replica.core;
  return core.election_ticks_min * core.tick_ms * 1000;
}

// In random order.
std::vector<size_t> Nemesis::OtherVoters(size_t node) {
  std::vector<size_t> others = CommittedMembers(true);
  std::erase(others, node);
  Shuffle(&others, &random_);
  return others;
}

void Nemesis::Crash() { (*nodes_)[LeaderOrAny()]->Crash(/*power=*/false); }

void Nemesis::CrashAll() {
  const bool power = random_.Chance(0.3);
  for (const auto& node : *nodes_) node->Crash(power);
}

void Nemesis::LosePower() { (*nodes_)[LeaderOrAny()]->Crash(/*power=*/true); }

void Nemesis::Terminate() { (*nodes_)[LeaderOrAny()]->Terminate(); }

void Nemesis::Pause() { Freeze(LeaderOrAny(), /*whole_host=*/random_.Chance(0.5)); }

// What is sent to a stopped process waits for it; what is sent to a frozen host arrives a little
// after it has woken up.
void Nemesis::Freeze(size_t number, bool whole_host) {
  SimNode* node = (*nodes_)[number].get();
  if (stopped_ || node->paused()) return;
  node->Pause();
  const uint64_t pause_us = random_.Below(4 * ElectionMicros());
  const uint64_t until_us = context_.now_us() + pause_us + random_.Below(20'000);
  for (size_t other = 0; whole_host && other < nodes_->size(); ++other) {
    if (other != number) network_->Clog(other, number, until_us);
  }
  context_.scheduler->After(pause_us, [this, node] {
    if (!stopped_) node->Resume();
  });
}

// Anyhow; or so that the leader keeps as many as it can without having a quorum.
void Nemesis::Partition() {
  if (nodes_->size() < 2) return;
  context_.coverage->Count(Mark::kPartition);
  std::vector<std::pair<size_t, size_t>> links;
  std::vector<bool> side;
  for (size_t i = 0; i < nodes_->size(); ++i) side.push_back(random_.Chance(0.5));
  if (random_.Chance(0.5)) {
    const size_t leader = LeaderOrAny();
    size_t kept = 0;
    for (const size_t voter : OtherVoters(leader)) side[voter] = ++kept < Quorum() - 1;
    side[leader] = true;
  }
  for (size_t a = 0; a < nodes_->size(); ++a) {
    for (size_t b = 0; b < nodes_->size(); ++b) {
      if (side[a] != side[b]) links.emplace_back(a, b);
    }
  }
  const bool breaks = random_.Chance(0.5);
  context_.trace->Say("the network falls apart");
  for (const auto& [a, b] : links) {
    network_->Cut(a, b);
    if (breaks) network_->Break(a, b);
  }
  Until(2'000'000, [this, links] {
    context_.trace->Say("the network grows together");
    for (const auto& [a, b] : links) network_->Uncut(a, b);
  });
}

void Nemesis::CutAll(size_t node, bool to_it, bool from_it, bool cut) {
  context_.trace->Say(fmt::format("{}{}{} is {}", NodeName(node), to_it ? ", hearing," : "",
                                  from_it ? ", speaking," : "", cut ? "cut" : "connected"));
  for (size_t other = 0; other < nodes_->size(); ++other) {
    if (other == node) continue;
    if (to_it) cut ? network_->Cut(other, node) : network_->Uncut(other, node);
    if (from_it) cut ? network_->Cut(node, other) : network_->Uncut(node, other);
  }
}

void Nemesis::Isolate() {
  context_.coverage->Count(Mark::kPartition);
  const size_t node = LeaderOrAny();
  CutAll(node, true, true, true);
  Until(2'000'000, [this, node] { CutAll(node, true, true, false); });
}

void Nemesis::CutOneWay() {
  if (nodes_->size() < 2) return;
  context_.coverage->Count(Mark::kOneWayCut);
  const size_t node = LeaderOrAny();
  if (random_.Chance(0.5)) {
    const bool to_it = random_.Chance(0.5);
    CutAll(node, to_it, !to_it, true);
    Until(2'000'000, [this, node, to_it] { CutAll(node, to_it, !to_it, false); });
    return;
  }
  const size_t other = OtherThan(node);
  network_->Cut(node, other);
  Until(2'000'000, [this, node, other] { network_->Uncut(node, other); });
}

// One link; or all of a node, for about as long as it takes to elect another leader, so that what
// was said before the election arrives after it.
void Nemesis::Clog() {
  if (nodes_->size() < 2) return;
  context_.coverage->Count(Mark::kClog);
  const size_t node = LeaderOrAny();
  const size_t one = OtherThan(node);
  const bool all = random_.Chance(0.5);
  const uint64_t directions = random_.Between(1, 3);
  const uint64_t until_us = context_.now_us() + random_.Below(3 * ElectionMicros());
  for (size_t other = 0; other < nodes_->size(); ++other) {
    if (other == node || (!all && other != one)) continue;
    if ((directions & 1) != 0) network_->Clog(node, other, until_us);
    if ((directions & 2) != 0) network_->Clog(other, node, until_us);
  }
}

void Nemesis::Swizzle() {
  if (nodes_->size() < 2) return;
  context_.coverage->Count(Mark::kSwizzle);
  const size_t node = LeaderOrAny();
  std::vector<size_t> others;
  for (size_t other = 0; other < nodes_->size(); ++other) {
    if (other != node) others.push_back(other);
  }
  const uint64_t step_us = Exponential(&random_, 200'000) + 1;
  const uint64_t open_us = context_.now_us() + step_us * others.size();
  Shuffle(&others, &random_);
  std::vector<size_t> opened = others;
  Shuffle(&opened, &random_);
  for (size_t i = 0; i < others.size(); ++i) {
    const size_t place = std::find(opened.begin(), opened.end(), others[i]) - opened.begin();
    context_.scheduler->After(
        i * step_us, [this, node, other = others[i], until_us = open_us + place * step_us] {
          if (stopped_) return;
          network_->Clog(node, other, until_us);
          network_->Clog(other, node, until_us);
        });
  }
}

void Nemesis::BreakStream() {
  if (nodes_->size() < 2) return;
  context_.coverage->Count(Mark::kStreamBroken);
  const size_t node = LeaderOrAny();
  const size_t other = OtherThan(node);
  random_.Chance(0.5) ? network_->Break(node, other) : network_->Break(other, node);
}

void Nemesis::Garble() {
  if (nodes_->size() < 2) return;
  const size_t node = LeaderOrAny();
  const size_t other = OtherThan(node);
  random_.Chance(0.5) ? network_->Garble(node, other) : network_->Garble(other, node);
}

void Nemesis::StallDisk() {
  context_.coverage->Count(Mark::kDiskStall);
  const size_t node = LeaderOrAny();
  context_.trace->Say("the disk of " + NodeName(node) + " hangs");
  const uint64_t mean_us = random_.Chance(0.3) ? 5'000'000 : 500'000;
  const uint64_t until_us = context_.now_us() + Exponential(&random_, mean_us);
  const uint64_t what = random_.Between(1, 3);  // reads, writes, or both
  if ((what & 1) != 0) (*nodes_)[node]->faults().reads_stalled_until_us = until_us;
  if ((what & 2) != 0) (*nodes_)[node]->faults().stalled_until_us = until_us;
}

void Nemesis::FailDisk() { (*nodes_)[LeaderOrAny()]->faults().fail_next_write = true; }

void Nemesis::FillDisk() {
  SimNode* node = (*nodes_)[LeaderOrAny()].get();
  node->faults().full = true;
  Until(2'000'000, [node] { node->faults().full = false; });
}

// What it sends to the others waits; with those for whom it does not it is less than a quorum.
void Nemesis::HearFew(size_t leader, uint64_t for_us) {
  if (Quorum() < 2) return;
  const std::vector<size_t> others = OtherVoters(leader);
  for (size_t i = random_.Below(Quorum() - 1); i < others.size(); ++i) {
    network_->Clog(leader, others[i], context_.now_us() + for_us);
  }
}

// A leader that has just won is struck while its first entries are on their way.
void Nemesis::OnLeader(size_t node, Term term) {
  if (stopped_) return;
  if (context_.options->replay > 0 && random_.Chance(0.3)) network_->ReplayOld(node);
  const uint64_t while_us = random_.Below(2 * ElectionMicros());
  if (random_.Chance(context_.options->few)) HearFew(node, while_us);
  if (random_.Chance(context_.options->stale)) network_->ReplayAnswers(node, term, while_us);
  if (!random_.Chance(context_.options->coup)) return;
  const uint64_t delays = random_.Chance(0.5) ? 5 : 20;
  const uint64_t delay_us = Exponential(&random_, delays * context_.options->delay_mean_us);
  context_.scheduler->After(delay_us, [this, node] { Overthrow(node); });
}

void Nemesis::OnCandidate(size_t node, Term term) {
  if (stopped_ || !random_.Chance(context_.options->stale)) return;
  network_->ReplayAnswers(node, term, ElectionMicros());
}

// What else it has sent by then does not arrive, as often as not.
void Nemesis::OnFirstCommit(size_t node) {
  if (!random_.Chance(context_.options->coup / 2)) return;
  context_.scheduler->After(0, [this, node] { Overthrow(node); });
}

void Nemesis::Overthrow(size_t node) {
  if (stopped_) return;
  SimNode* target = (*nodes_)[node].get();
  switch (random_.Below(4)) {
    case 0:
      return target->Crash(/*power=*/false);
    case 1:  // what the others have of it, it will not have itself
      target->faults().stalled_until_us = context_.now_us() + ElectionMicros();
      return context_.scheduler->After(random_.Below(ElectionMicros()), [this, target] {
        if (!stopped_) target->Crash(/*power=*/false);
      });
    case 2:
      target->Pause();
      return Until(1'000'000, [target] { target->Resume(); });
    default:
      CutAll(node, true, true, true);
      return Until(1'000'000, [this, node] { CutAll(node, true, true, false); });
  }
}

// The host freezes while the answers are on their way.
void Nemesis::OnHeartbeat(size_t node) {
  if (random_.Chance(context_.options->freeze)) Freeze(node, /*whole_host=*/true);
}

std::vector<size_t> Nemesis::CommittedMembers(bool voters) const {
  std::vector<size_t> nodes;
  for (const Member& member : context_.checker->membership().membership.members) {
    if (member.voter == voters) nodes.push_back(member.id.value() - 1);
  }
  return nodes;
}

bool Nemesis::MayLoseOne() const {
  if (keeper_->ChangeIsUnderWay()) return false;
  const std::vector<size_t> voters = CommittedMembers(true);
  const auto lost = std::count_if(voters.begin(), voters.end(), [this](size_t node) {
    return (*nodes_)[node]->IsDamaged() || keeper_->MustGo(node);
  });
  return static_cast<size_t>(lost) < (voters.size() - 1) / 2;
}

void Nemesis::Damage() {
  SimNode& node = *(*nodes_)[AnyNode()];
  if (!node.born() || !MayLoseOne()) return;
  node.Crash(/*power=*/false);
  const Index first = node.disk().base.point.at.index.Next();
  const Index last = node.disk().last().at.index;
  const bool told_by_mark = node.disk().acknowledged == last;
  if (node.alive() || !told_by_mark || last < first) return;
  node.DamageLog(Index(random_.Between(first.value(), last.value())));
}

// One that a member has never seen could be any.
bool Nemesis::IsKnownToAll(size_t number) const {
  const NodeId id(number + 1);
  for (const Member& member : context_.checker->membership().membership.members) {
    if (member.id == id) continue;
    const DiskImage& disk = (*nodes_)[member.id.value() - 1]->disk();
    const Membership known = disk.membership().membership;
    const bool recorded = known.Find(id) != nullptr && known.Find(id)->incarnation != 0;
    if (!recorded && !disk.peers.contains(id)) return false;
  }
  return true;
}

// Of a member that the cluster has hardly met, as often as not.
void Nemesis::Wipe() {
  const Membership& members = context_.checker->membership().membership;
  size_t number = AnyNode();
  for (const Member& member : members.members) {
    if (member.incarnation == 0 && random_.Chance(0.5)) number = member.id.value() - 1;
  }
  if (members.Find(NodeId(number + 1)) == nullptr || !MayLoseOne()) return;
  // Those who the cluster begins with vote before their data directories are recorded (R26).
  if (number < context_.options->voters && !IsKnownToAll(number)) return;
  SimNode& node = *(*nodes_)[number];
  node.Crash(/*power=*/false);
  keeper_->OnWiped(number);
  node.Wipe(members, /*lost=*/true);
}

void Nemesis::JumpWallClock() {
  context_.coverage->Count(Mark::kClockJump);
  (*nodes_)[AnyNode()]->JumpWallClock(static_cast<int64_t>(random_.Below(7'200'000)) - 3'600'000);
}

// A learner and its upstream lose each other; the leader still hears both.
void Nemesis::CutUpstream() {
  for (const Member& member : context_.checker->membership().membership.members) {
    if (member.voter || member.upstream == NodeId() || random_.Chance(0.3)) continue;
    const size_t learner = member.id.value() - 1;
    const size_t upstream = member.upstream.value() - 1;
    context_.trace->Say(NodeName(learner) + " and its upstream are cut from each other");
    network_->Cut(learner, upstream);
    network_->Cut(upstream, learner);
    return Until(4'000'000, [this, learner, upstream] {
      network_->Uncut(learner, upstream);
      network_->Uncut(upstream, learner);
    });
  }
}

void Nemesis::CutClient() {
  const size_t client = random_.Below(context_.options->clients);
  const size_t node = LeaderOrAny();
  rpc_->Cut(client, node, true);
  Until(1'000'000, [this, client, node] { rpc_->Cut(client, node, false); });
}

// Whatever it is, nobody comes to mend it.
void Nemesis::BreakForGood(size_t node) {
  SimNode& target = *(*nodes_)[node];
  switch (random_.Below(6)) {
    case 0:
      stays_down_[node] = true;
      return target.Crash(/*power=*/false);
    case 1:
      return CutAll(node, true, true, true);
    case 2:
      return CutAll(node, true, false, true);
    case 3:
      return CutAll(node, false, true, true);
    case 4:
      context_.trace->Say("the disk of " + NodeName(node) + " hangs for ever");
      target.faults() = {.stalled_until_us = kForEver, .reads_stalled_until_us = kForEver};
      return;
    default:
      return target.Pause();
  }
}

std::vector<size_t> Nemesis::HealQuorum() {
  context_.coverage->Count(Mark::kHealed);
  stopped_ = true;
  keeper_->Stop();
  network_->HealAll();
  for (size_t node = 0; node < nodes_->size(); ++node) {
    for (size_t client = 0; client <= context_.options->clients; ++client) {
      rpc_->Cut(client, node, false);
    }
    SimNode& target = *(*nodes_)[node];
    target.faults() = {};
    target.Resume();
    if (!target.alive() && !keeper_->IsKeptDown(node)) target.Start();
  }
  const bool change_under_way = keeper_->ChangeIsUnderWay();
  std::vector<size_t> voters = CommittedMembers(true);
  Shuffle(&voters, &random_);
  // A leader that nobody mends is the hardest case.
  const size_t leader = LeaderOrAny();
  std::stable_partition(voters.begin(), voters.end(),
                        [leader](size_t node) { return node != leader; });
  std::stable_partition(voters.begin(), voters.end(),
                        [this](size_t node) { return !(*nodes_)[node]->IsDamaged(); });
  std::stable_partition(voters.begin(), voters.end(),
                        [this](size_t node) { return !keeper_->MustGo(node); });
  const size_t quorum = voters.size() / 2 + 1;
  const size_t healed_voters =
      change_under_way ? voters.size() : random_.Between(quorum, voters.size());
  std::vector<size_t> healed(voters.begin(), voters.begin() + healed_voters);
  std::vector<size_t> broken(voters.begin() + healed_voters, voters.end());
  // A learner that the leader promotes counts from then on.
  const bool all = change_under_way || random_.Chance(0.5);
  for (const size_t node : CommittedMembers(false)) {
    const Membership& members = context_.checker->membership().membership;
    const bool counts = members.Find(NodeId(node + 1))->promote_when_level;
    (all || counts ? healed : broken).push_back(node);
  }
  for (const size_t node : healed) {
    if (keeper_->MustGo(node)) broken.push_back(node);
  }
  std::erase_if(healed, [this](size_t node) { return keeper_->MustGo(node); });
  for (const size_t node : broken) BreakForGood(node);
  std::sort(healed.begin(), healed.end());
  return healed;
}

}  // namespace skein::sim
