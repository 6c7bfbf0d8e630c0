#include "tests/sim/sim_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "replication/core/forced_quorum.h"

namespace skein::sim {
namespace {

constexpr uint64_t kChangeWaitUs = 3'000'000;
constexpr uint64_t kBootedUs = 1'000'000;  // a clock that says 0 has proven nothing

}  // namespace

std::string HostOf(const std::string& address) { return address.substr(0, address.find('-')); }

uint64_t SimNode::NodeClock::MonotonicMicros() const {
  return offset_us + static_cast<uint64_t>(static_cast<double>(scheduler->now_us()) * rate);
}

uint64_t SimNode::NodeClock::WallMillis() const {
  return static_cast<uint64_t>(std::max<int64_t>(
      0, static_cast<int64_t>(scheduler->now_us() / 1000) + wall_offset_ms + 1'000'000'000));
}

SimNode::SimNode(const SimContext& context, size_t node, const Membership& membership,
                 Random random)
    : context_(context), node_(node), host_(NodeName(node)), random_(random) {
  disk_.base.membership = membership;
  disk_.state.membership = membership;
  clock_.scheduler = context.scheduler;
  const double share = static_cast<double>(random_.Below(2001)) / 1000.0 - 1.0;
  clock_.rate = 1.0 + context.options->drift * share;
  clock_.offset_us = kBootedUs + random_.Below(1'000'000'000);
  if (random_.Fork("version").Chance(context.options->old_version)) {
    version_ = kOldestProtocolVersion;
  }
}

void SimNode::Connect(SimNetwork* network, SimRpc* rpc, Hooks hooks) {
  network_ = network;
  rpc_ = rpc;
  hooks_ = std::move(hooks);
}

bool SimNode::IsDamaged() const {
  if (process_) return process_->replica->core().damaged();
  return disk_.acknowledged > disk_.last().at.index;
}

// With a new release, now and then; always if it joins a cluster that needs one.
void SimNode::MaybeUpgrade() {
  if (version_ == kProtocolVersion) return;
  const bool needed = disk_.membership().membership.RequiredVersion() > version_;
  const bool upgraded =
      starts_ > 1 && random_.Fork("upgrade " + std::to_string(starts_)).Chance(0.4);
  if (needed || upgraded) version_ = kProtocolVersion;
  context_.coverage->Count(version_ == kProtocolVersion ? Mark::kUpgrade : Mark::kOldVersion);
}

// Who was not always a member may have been removed and added again, with another data directory.
void SimNode::ForgetReturned(const LogRecovery& recovery) {
  std::erase_if(disk_.peers, [&](const auto& peer) {
    return recovery.base.membership.Find(peer.first) == nullptr ||
           std::ranges::any_of(recovery.memberships, [&](const MembershipAt& at) {
             return at.membership.Find(peer.first) == nullptr;
           });
  });
}

void SimNode::Start() {
  CompleteInstall();
  process_ = std::make_unique<Process>();
  ++starts_;
  MaybeUpgrade();
  context_.checker->OnRestart(node_);
  const Random random = random_.Fork("process " + std::to_string(starts_));
  Process& process = *process_;
  process.log_store =
      std::make_unique<SimLogStore>(context_, node_, &disk_, &faults_, random.Fork("log"));
  process.state = std::make_unique<SimStateMachine>(context_, node_, &disk_, random.Fork("state"));
  ReplicaOptions options = context_.options->replica;
  options.core.protocol_version = version_;
  LogRecovery recovery = *process.log_store->Recover();
  ForgetReturned(recovery);
  process.replica = std::make_unique<Replica>(
      options, NodeId(node_ + 1), std::move(recovery), process.log_store.get(), process.state.get(),
      static_cast<Transport*>(this), static_cast<SnapshotFetcher*>(this),
      static_cast<Observer*>(this), &clock_, random.Fork("replica"));
  process.server = std::make_unique<SimServer>(
      context_, node_, disk_.history, process.replica.get(), process.state.get(), &clock_, rpc_);
  process.log_store->Start(this);
  process.state->Start(this);
  role_ = Role::kFollower;
  process.memberships = process.replica->core().memberships();
  if (disk_.state.applied.at.index < disk_.last().at.index && starts_ > 1) {
    context_.coverage->Count(Mark::kReplayAfterCrash);
  }
  context_.trace->Say(
      fmt::format("{} starts: log ({}, {}], state {}, acknowledged {}", NodeName(node_),
                  disk_.base.point.at.index.value(), disk_.last().at.index.value(),
                  disk_.state.applied.at.index.value(), disk_.acknowledged.value()));
  for (size_t other = 0; other < network_->nodes(); ++other) {
    if (other != node_) Post(LinkDown{NodeId(other + 1), /*refused=*/false});
  }
  network_->OnStart(node_);
  ScheduleTick();
  ScheduleFlush();
}

void SimNode::Crash(bool power) {
  if (!process_) return;
  context_.coverage->Count(power ? Mark::kPowerLoss : Mark::kCrash);
  context_.trace->Say(fmt::format("{} {}", NodeName(node_), power ? "loses power" : "is killed"));
  End();
  if (!power) return;
  // Another boot: another monotonic clock, and the mark as it was when it was last on the disk.
  clock_.offset_us = kBootedUs + random_.Below(1'000'000'000);
  if (disk_.acknowledged <= disk_.last().at.index && random_.Chance(0.5)) {
    disk_.acknowledged = Index(random_.Below(disk_.acknowledged.value() + 1));
  }
}

void SimNode::End() {
  *process_->alive = false;
  process_->log_store->Crash();
  process_->server.reset();
  process_.reset();
  faults_.fail_next_write = false;
  paused_ = false;
  network_->OnEnd(node_);
  rpc_->OnEnd(node_);
}

void SimNode::Terminate() {
  if (!process_ || paused_ || process_->stopping) return;
  context_.coverage->Count(Mark::kTerminate);
  context_.trace->Say(NodeName(node_) + " is told to stop");
  process_->stopping = true;
  const CoreOptions& core = context_.options->replica.core;
  if (process_->replica->core().role() == Role::kLeader) Transfer(NodeId(), [](absl::Status) {});
  AwaitHandover(clock_.MonotonicMicros() + core.election_ticks_max * core.tick_ms * 1000);
}

void SimNode::AwaitHandover(uint64_t deadline_us) {
  const Core& core = process_->replica->core();
  const bool follows = core.role() != Role::kLeader && core.leader() != NodeId();
  if (!paused_ && (follows || clock_.MonotonicMicros() >= deadline_us)) {
    process_->replica->Stop();
    return Wake();
  }
  context_.scheduler->After(context_.options->replica.core.tick_ms * 500,
                            [this, deadline_us, alive = process_->alive] {
                              if (*alive) AwaitHandover(deadline_us);
                            });
}

void SimNode::Pause() {
  if (!process_ || paused_) return;
  context_.coverage->Count(Mark::kPause);
  context_.trace->Say(NodeName(node_) + " is paused");
  paused_ = true;
}

void SimNode::Resume() {
  if (!std::exchange(paused_, false)) return;
  context_.trace->Say(NodeName(node_) + " goes on");
  process_->missed_ticks = true;
  Wake();
}

void SimNode::DamageLog(Index first) {
  context_.coverage->Count(Mark::kDamage);
  context_.trace->Say(
      fmt::format("{} loses its log from index {} on", NodeName(node_), first.value()));
  disk_.Truncate(first);
}

void SimNode::Wipe(const Membership& members, bool lost) {
  context_.coverage->Count(Mark::kWipe);
  context_.trace->Say(NodeName(node_) + " has a new data directory");
  const uint64_t incarnation = disk_.incarnation + 1;
  auto witnessed = std::exchange(disk_, {}).witnessed;
  if (lost) disk_.witnessed = std::move(witnessed);
  disk_.incarnation = incarnation;
  disk_.history = context_.checker->history();
  disk_.base.membership = members;
  disk_.state.membership = members;
  network_->Forget(node_);
}

// As NewQuorum does with a data directory, lost entries accepted.
void SimNode::ForceQuorum(uint64_t history) {
  context_.coverage->Count(Mark::kQuorumForced);
  context_.trace->Say(NodeName(node_) + " goes on alone");
  CompleteInstall();
  if (disk_.state.applied.at.index > disk_.last().at.index) {
    ResetLog(context_, node_, &disk_, LogBase{disk_.state.applied, disk_.state.membership});
  }
  disk_.acknowledged = std::min(disk_.acknowledged, disk_.last().at.index);
  disk_.incoming.reset();
  disk_.partial.reset();
  disk_.peers.clear();
  disk_.history = history;
  SimLogStore log(context_, node_, &disk_, &faults_, random_.Fork("recovery"));
  log.WriteAtOnce(skein::ForceQuorum(*log.Recover(), disk_.membership().membership,
                                     NodeId(node_ + 1), disk_.incarnation, clock_.WallMillis()));
}

void SimNode::Change(const MembershipChange& change, std::function<void(absl::Status)> done) {
  process_->replica->Change(change, clock_.MonotonicMicros() + kChangeWaitUs,
                            [done = std::move(done)](absl::Status status) { done(status); });
  Wake();
}

void SimNode::Transfer(NodeId target, std::function<void(absl::Status)> done) {
  process_->replica->Transfer(target,
                              [done = std::move(done)](absl::Status status) { done(status); });
  Wake();
}

// What its transport finds out when a stream is opened, and its data directory remembers.
bool SimNode::Admits(const SimNode& sender) {
  if (!process_ || !sender.process_) return true;
  if (sender.disk_.history != disk_.history) {
    context_.coverage->Count(Mark::kLeftBehindKnocks);
    return false;
  }
  const NodeId id(sender.node_ + 1);
  const MembershipsInForce& mine = process_->memberships;
  const SenderClaim claim{id, NodeName(sender.node_), sender.disk_.incarnation,
                          sender.process_->memberships.newest.index, sender.version_};
  if (!RefuseSender(mine, claim).empty()) return false;
  const Member* member = mine.newest.membership.Find(id);
  const bool newer = claim.membership_index > mine.newest.index;
  if (member == nullptr || member->incarnation != 0 || newer) return true;
  return disk_.peers.emplace(id, claim.incarnation).first->second == claim.incarnation;
}

// Who knows a newer membership says itself where it is, if it knows where this node is.
bool SimNode::KnowsWhereIs(const SimNode& other) const {
  const MembershipsInForce& mine = process_->memberships;
  const Member* member = mine.Find(NodeId(other.node_ + 1));
  if (member == nullptr || HostOf(member->address) == other.host_) return true;
  if (!other.process_) return false;
  const MembershipsInForce& its = other.process_->memberships;
  const Member* self = its.Find(NodeId(node_ + 1));
  const bool finds_this = self == nullptr || HostOf(self->address) == host_;
  return finds_this && its.newest.index > mine.newest.index;
}

void SimNode::OnMembership(const MembershipsInForce& memberships) {
  if (memberships.newest.index < process_->memberships.newest.index) {
    context_.coverage->Count(Mark::kMembershipBack);
  }
  const Membership before = std::exchange(process_->memberships, memberships).newest.membership;
  std::erase_if(disk_.peers, [&](const auto& peer) {
    const Member* member = memberships.newest.membership.Find(peer.first);
    const Member* earlier = before.Find(peer.first);
    const bool added = member != nullptr && member->incarnation == 0 &&
                       (earlier == nullptr || earlier->incarnation != 0);
    return added || !memberships.IsMember(peer.first);
  });
}

// A leader puts the incarnations of who it talks to in the log, sooner or later.
void SimNode::RecordIncarnations() {
  const Core& core = process_->replica->core();
  if (core.role() != Role::kLeader || core.memberships().newest.index > core.commit()) return;
  if (!random_.Chance(0.1)) return;
  for (const Member& member : core.membership().members) {
    if (member.incarnation != 0) continue;
    const SimNode& other = hooks_.node(member.id);
    if (&other != this && (!other.alive() || !core.LinkIsUp(member.id) || !Admits(other))) continue;
    Change(RecordIncarnation{member.id, other.disk_.incarnation}, [](const absl::Status&) {});
    return;
  }
}

void SimNode::Post(Event event) {
  if (!process_) return;
  process_->mail.emplace_back(std::move(event));
  Wake();
}

void SimNode::OnReceived(Message message) {
  Post(Received{std::move(message), clock_.MonotonicMicros()});
}

void SimNode::OnRequest(Request request) {
  if (!process_) return;
  process_->mail.emplace_back(std::move(request));
  Wake();
}

void SimNode::Wake() {
  if (paused_ || std::exchange(process_->run_due, true)) return;
  context_.scheduler->After(1 + random_.Below(20), [this, alive = process_->alive] {
    if (*alive) Run();
  });
}

void SimNode::Run() {
  process_->run_due = false;
  if (paused_) return;
  const bool ticks_first = process_->missed_ticks && random_.Chance(context_.options->ticks_first);
  if (!ticks_first) process_->ticks_due = std::min<uint64_t>(process_->ticks_due, 1);
  if (ticks_first) HandleTicks();
  HandleMail();
  if (!ticks_first) HandleTicks();
  process_->missed_ticks = false;
  Replica& replica = *process_->replica;
  replica.Perform();
  if (!replica.fatal().ok()) return OnFatal();
  RecordIncarnations();
  process_->server->AfterPerform();
  context_.checker->AfterPerform(node_, replica);
  if (!process_->mail.empty()) Wake();
}

void SimNode::HandleMail() {
  size_t items = process_->mail.size();
  if (items > 1 && random_.Chance(context_.options->half_drain)) items = random_.Between(1, items);
  for (; items > 0; --items) {
    Item item = std::move(process_->mail.front());
    process_->mail.pop_front();
    if (auto* request = std::get_if<Request>(&item)) {
      process_->server->OnRequest(std::move(*request));
    } else {
      process_->replica->Step(std::get<Event>(item));
    }
  }
}

void SimNode::HandleTicks() {
  for (; process_->ticks_due > 0; --process_->ticks_due) process_->replica->Step(Tick{});
}

void SimNode::ScheduleTick() {
  const double tick_us =
      static_cast<double>(context_.options->replica.core.tick_ms * 1000) / clock_.rate;
  const uint64_t jitter_us = random_.Below(500);
  context_.scheduler->After(static_cast<uint64_t>(tick_us) + jitter_us,
                            [this, alive = process_->alive] {
                              if (!*alive) return;
                              ++process_->ticks_due;
                              Wake();
                              ScheduleTick();
                            });
}

void SimNode::ScheduleFlush() {
  context_.scheduler->After(Exponential(&random_, context_.options->flush_every_us),
                            [this, alive = process_->alive] {
                              if (!*alive) return;
                              if (!paused_) process_->state->Flush();
                              ScheduleFlush();
                            });
}

// The node tells its callers and exits. Only a broken disk is a reason to.
void SimNode::OnFatal() {
  const std::string reason(process_->replica->fatal().message());
  context_.trace->Say(fmt::format("{} stops: {}", NodeName(node_), reason));
  if (process_->stopping) disk_.state = process_->state->state();
  const bool disk_failed = absl::IsUnavailable(process_->replica->fatal());
  if (!disk_failed) context_.checker->Violate(NodeName(node_) + " stops: " + reason);
  End();
}

void SimNode::Send(Message message) {
  SimNode& receiver = hooks_.node(message.to);
  if (!KnowsWhereIs(receiver)) {
    context_.coverage->Count(Mark::kOtherAtAddress);
    return;
  }
  if (!receiver.Admits(*this) || !Admits(receiver)) {
    context_.coverage->Count(Mark::kSenderRefused);
    return;
  }
  CheckUnderstood(receiver, message);
  context_.checker->OnSend(node_, message);
  network_->Send(node_, message);
  if (std::holds_alternative<HeartbeatMessage>(message.body)) hooks_.on_heartbeat();
}

// R27: nobody is sent what came with a later version than its own.
void SimNode::CheckUnderstood(const SimNode& receiver, const Message& message) const {
  if (receiver.version_ >= kUpstreamsVersion) return;
  const auto* append = std::get_if<AppendMessage>(&message.body);
  const auto* heartbeat = std::get_if<HeartbeatMessage>(&message.body);
  const bool newer =
      (append != nullptr && append->relayed) || (heartbeat != nullptr && !heartbeat->feeds.empty());
  if (!newer) return;
  context_.checker->Violate(NodeName(receiver.node_) + " is sent what it does not understand");
}

void SimNode::OnRoleChange(const RoleChange& change) {
  const Role before = std::exchange(role_, change.role);
  context_.trace->Mix(static_cast<uint64_t>(change.role) << 32 | change.term.value());
  if (context_.trace->on()) {
    context_.trace->Say(fmt::format("{} is {} in term {}: {}", NodeName(node_),
                                    RoleName(change.role), change.term.value(), change.reason));
  }
  if (change.role == Role::kCandidate) hooks_.on_candidate(change.term);
  if (change.role == Role::kLeader) {
    context_.coverage->Count(Mark::kElection);
    has_committed_ = false;
    hooks_.on_leader(change.term);
    if (change.reason.find("refuses connections") != std::string::npos) {
      context_.coverage->Count(Mark::kFastElection);
    }
  } else if (before == Role::kLeader) {
    const bool stalled = change.reason.find("own disk") != std::string::npos;
    context_.coverage->Count(stalled ? Mark::kStallGivenUp : Mark::kLeaderSteppedDown);
  }
}

void SimNode::OnStage(Stage stage, Index) {
  if (stage != Stage::kCommitted || role_ != Role::kLeader) return;
  if (!std::exchange(has_committed_, true)) hooks_.on_first_commit();
}

void SimNode::OnAppended(const std::vector<EntryPtr>& entries) {
  context_.checker->OnAppended(node_, *process_->replica, entries);
  for (const EntryPtr& entry : entries) {
    Membership membership;
    const bool newer = entry->type() == EntryType::kMembership &&
                       DecodeMembership(entry->payload(), &membership) &&
                       membership.RequiredVersion() > version_;
    if (newer) context_.checker->Violate(NodeName(node_) + " would not understand an entry");
  }
}

void SimNode::OnNotice(const std::string& notice) {
  if (context_.trace->on()) context_.trace->Say(NodeName(node_) + " notes: " + notice);
  if (notice.find("is complete again") != std::string::npos) {
    context_.coverage->Count(Mark::kDamageRepaired);
  } else if (notice.find("the log begins anew") != std::string::npos) {
    CrashAmidInstall();
  } else if (notice.find("does not get on with") != std::string::npos) {
    context_.coverage->Count(Mark::kFeederPassedOver);
  } else if (notice.find(" is fed by ") != std::string::npos) {
    context_.coverage->Count(Mark::kFeederChosen);
  }
}

}  // namespace skein::sim
