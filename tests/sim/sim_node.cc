#include "tests/sim/sim_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

constexpr uint64_t kBootedUs = 1'000'000;  // a clock that says 0 has proven nothing

}  // namespace

uint64_t SimNode::NodeClock::MonotonicMicros() const {
  return offset_us + static_cast<uint64_t>(static_cast<double>(scheduler->now_us()) * rate);
}

uint64_t SimNode::NodeClock::WallMillis() const {
  return static_cast<uint64_t>(std::max<int64_t>(
      0, static_cast<int64_t>(scheduler->now_us() / 1000) + wall_offset_ms + 1'000'000'000));
}

SimNode::SimNode(const SimContext& context, size_t node, const Membership& membership,
                 Random random)
    : context_(context), node_(node), random_(random) {
  disk_.base.membership = membership;
  clock_.scheduler = context.scheduler;
  const double share = static_cast<double>(random_.Below(2001)) / 1000.0 - 1.0;
  clock_.rate = 1.0 + context.options->drift * share;
  clock_.offset_us = kBootedUs + random_.Below(1'000'000'000);
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

void SimNode::Start() {
  process_ = std::make_unique<Process>();
  ++starts_;
  context_.checker->OnRestart(node_);
  const Random random = random_.Fork("process " + std::to_string(starts_));
  Process& process = *process_;
  process.log_store =
      std::make_unique<SimLogStore>(context_, node_, &disk_, &faults_, random.Fork("log"));
  process.state = std::make_unique<SimStateMachine>(context_, node_, &disk_, random.Fork("state"));
  process.replica = std::make_unique<Replica>(
      context_.options->replica, NodeId(node_ + 1), *process.log_store->Recover(),
      process.log_store.get(), process.state.get(), static_cast<Transport*>(this),
      static_cast<Observer*>(this), &clock_, random.Fork("replica"));
  process.server = std::make_unique<SimServer>(context_, node_, process.replica.get(),
                                               process.state.get(), &clock_, rpc_);
  process.log_store->Start(this);
  process.state->Start(this);
  role_ = Role::kFollower;
  if (disk_.state.applied.at.index < disk_.last().at.index && starts_ > 1) {
    context_.coverage->Count(Mark::kReplayAfterCrash);
  }
  context_.trace->Say(
      fmt::format("{} starts: log ({}, {}], state {}, acknowledged {}", NodeName(node_),
                  disk_.base.point.at.index.value(), disk_.last().at.index.value(),
                  disk_.state.applied.at.index.value(), disk_.acknowledged.value()));
  for (const Member& member : disk_.base.membership.members) {
    if (member.id != NodeId(node_ + 1)) Post(LinkDown{member.id, /*refused=*/false});
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
  const bool disk_failed = absl::IsUnavailable(process_->replica->fatal());
  if (!disk_failed) context_.checker->Violate(NodeName(node_) + " stops: " + reason);
  End();
}

void SimNode::Send(Message message) {
  network_->Send(node_, message);
  if (std::holds_alternative<HeartbeatMessage>(message.body)) hooks_.on_heartbeat();
}

void SimNode::OnRoleChange(const RoleChange& change) {
  const Role before = std::exchange(role_, change.role);
  context_.trace->Mix(static_cast<uint64_t>(change.role) << 32 | change.term.value());
  if (context_.trace->on()) {
    context_.trace->Say(fmt::format("{} is {} in term {}: {}", NodeName(node_),
                                    RoleName(change.role), change.term.value(), change.reason));
  }
  if (change.role == Role::kLeader) {
    context_.coverage->Count(Mark::kElection);
    hooks_.on_leader();
    if (change.reason.find("refuses connections") != std::string::npos) {
      context_.coverage->Count(Mark::kFastElection);
    }
  } else if (before == Role::kLeader) {
    const bool stalled = change.reason.find("own disk") != std::string::npos;
    context_.coverage->Count(stalled ? Mark::kStallGivenUp : Mark::kLeaderSteppedDown);
  }
}

void SimNode::OnAppended(const std::vector<EntryPtr>& entries) {
  context_.checker->OnAppended(node_, entries);
}

void SimNode::OnNotice(const std::string& notice) {
  if (context_.trace->on()) context_.trace->Say(NodeName(node_) + " notes: " + notice);
  if (notice.find("is complete again") != std::string::npos) {
    context_.coverage->Count(Mark::kDamageRepaired);
  }
}

}  // namespace skein::sim
