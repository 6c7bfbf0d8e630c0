#include "tests/sim/sim_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

using client::CallKind;
using client::Happened;

constexpr uint64_t kReadAttemptUs = 500'000;
constexpr uint64_t kStatusTimeoutUs = 1'000'000;
constexpr uint64_t kRefreshUs = 1'000'000;
constexpr uint64_t kUrgentRefreshUs = 20'000;

std::vector<std::string> Endpoints(size_t nodes) {
  std::vector<std::string> names;
  for (size_t i = 0; i < nodes; ++i) names.push_back(NodeName(i));
  return names;
}

}  // namespace

SimClient::SimClient(const SimContext& context, size_t client, size_t nodes, SimRpc* rpc,
                     Random random)
    : context_(context),
      client_(client),
      nodes_(nodes),
      who_("c" + std::to_string(client + 1)),
      rpc_(rpc),
      random_(random),
      view_(Endpoints(nodes), /*discover=*/false),
      heard_us_(nodes) {}

void SimClient::Start(size_t calls) {
  stopped_ = false;
  ++starts_;
  Refresh();
  for (size_t i = 0; i < calls; ++i) Think();
}

void SimClient::Think() {
  context_.scheduler->After(Exponential(&random_, context_.options->think_mean_us),
                            [this, start = starts_] {
                              if (!stopped_ && start == starts_) Begin(DrawCall());
                            });
}

SimClient::Call SimClient::DrawCall() {
  const SimOptions& options = *context_.options;
  Call call;
  Request& request = call.request;
  request.key = "k" + std::to_string(random_.Below(options.keys));
  request.wait_us = random_.Between(10'000, options.call_deadline_us);
  if (random_.Chance(options.write_share)) {
    const bool is_delete = random_.Chance(options.delete_share);
    request.kind = is_delete ? Request::Kind::kDelete : Request::Kind::kPut;
    if (!is_delete) request.value = NextValue();
    const uint64_t level = random_.Below(10);
    request.level = level == 0   ? AckLevel::kLeader
                    : level == 1 ? AckLevel::kAll
                                 : AckLevel::kQuorum;
    return call;
  }
  constexpr Consistency kConsistencies[] = {Consistency::kOwnWrites,    Consistency::kBounded,
                                            Consistency::kLinearizable, Consistency::kLinearizable,
                                            Consistency::kLinearizable, Consistency::kAny};
  constexpr ReadPolicy kPolicies[] = {ReadPolicy::kFollowers, ReadPolicy::kLeader,
                                      ReadPolicy::kAny};
  request.consistency = kConsistencies[random_.Below(std::size(kConsistencies))];
  request.bound_us = random_.Between(10, 1000) * 1000;
  call.policy = kPolicies[random_.Below(std::size(kPolicies))];
  return call;
}

void SimClient::Begin(Call call) {
  const uint64_t now_us = context_.now_us();
  const uint64_t deadline_us = now_us + context_.options->call_deadline_us;
  call.begin_us = now_us;
  call.token = token_;
  if (call.request.consistency == Consistency::kOwnWrites) call.request.at_least = token_;
  call.request.client = client_;
  call.plan = client::CallPlan(IsWrite(call) ? CallKind::kWrite : CallKind::kRead, now_us,
                               deadline_us, /*patience_us=*/1'000'000);
  const uint64_t id = next_attempt_++;
  calls_.emplace(id, std::move(call));
  Route(id);
}

void SimClient::Route(uint64_t id) {
  Call& call = calls_.at(id);
  const uint64_t random = random_.Next();
  const auto slot = IsWrite(call)
                        ? router_.PickWriter(view_, call.plan.tried(), random)
                        : router_.PickReader(view_, call.policy, call.plan.tried(), random);
  if (!slot.has_value()) {
    return Conclude(id, {.happened = Happened::kNotSent,
                         .error = absl::UnavailableError("no node takes the request now")});
  }
  call.to = *slot;
  call.request.id = id;
  view_.AddInFlight(*slot, 1);
  const uint64_t now_us = context_.now_us();
  const uint64_t deadline_us = call.plan.deadline_us();
  const uint64_t slow_us =
      now_us + call.plan.AttemptMicros(kReadAttemptUs, call.attempts++, now_us);
  if (!IsWrite(call) && slow_us < deadline_us) {
    context_.scheduler->At(slow_us, [this, id] { OnSlow(id); });
  }
  context_.scheduler->At(deadline_us, [this, id] { OnDeadline(id); });
  if (context_.trace->on()) {
    context_.trace->Say(fmt::format("{} sends {} of {} {} to {}", who_,
                                    IsWrite(call) ? "write" : "read", call.request.key,
                                    call.request.value, NodeName(*slot)));
  }
  rpc_->Send(*slot, call.request);
}

void SimClient::OnSlow(uint64_t id) {
  const auto it = calls_.find(id);
  if (it == calls_.end() || !it->second.to.has_value()) return;
  const size_t node = *it->second.to;
  view_.MarkDown(node);
  Refresh();
  Conclude(id, {.happened = Happened::kSlow,
                .sent = true,
                .error = absl::UnavailableError("no answer in time"),
                .address = NodeName(node),
                .slot = node});
}

void SimClient::OnDeadline(uint64_t id) {
  const auto it = calls_.find(id);
  if (it == calls_.end()) return;
  Conclude(id, {.happened = Happened::kDeadline, .sent = it->second.to.has_value()});
}

void SimClient::OnNotSent(size_t node, uint64_t attempt) {
  view_.MarkDown(node);
  Refresh();
  if (calls_.count(attempt) == 0) return;
  Conclude(attempt, {.happened = Happened::kNotSent,
                     .error = absl::UnavailableError("connection refused"),
                     .address = NodeName(node),
                     .slot = node});
}

void SimClient::OnBroken(size_t node) {
  view_.MarkDown(node);
  Refresh();
  std::vector<uint64_t> ids;
  for (const auto& [id, call] : calls_) {
    if (call.to == node) ids.push_back(id);
  }
  for (const uint64_t id : ids) {
    if (calls_.count(id) == 0) continue;
    Conclude(id, {.happened = Happened::kBroken,
                  .sent = true,
                  .error = absl::UnavailableError("connection reset"),
                  .address = NodeName(node),
                  .slot = node});
  }
}

void SimClient::OnResponse(size_t node, Response response) {
  heard_us_[node] = context_.now_us();
  view_.MarkUp(node);
  const uint64_t before = view_.cluster_id();
  view_.Observe(node, {.node_id = response.node,
                       .leader_id = response.leader,
                       .term = response.term,
                       .applied = response.applied,
                       .staleness_ms = response.staleness_ms,
                       .cluster_id = response.cluster_id,
                       .history = response.history});
  if (before != 0 && before != view_.cluster_id()) {  // as the dispatcher does
    context_.coverage->Count(Mark::kHistoryLearnt);
    token_ = Revision();
  }
  if (view_.node(node).foreign) return OnForeign(node, response.id);
  if (!response.members.members.empty()) view_.ObserveMembers(response.members);
  const auto it = calls_.find(response.id);
  if (it == calls_.end() || it->second.to != node) return;
  if (response.error.ok()) return Succeed(response.id, response);
  const ErrorDetail detail = DetailOf(response.error);
  view_.ObserveLeaderHint(detail.leader_id, detail.leader_address, Term(detail.term));
  Conclude(response.id, {.happened = Happened::kRefused,
                         .error = response.error,
                         .address = NodeName(node),
                         .slot = node});
}

// Of a stream that was opened before it was known; what was sent may have been taken.
void SimClient::OnForeign(size_t node, uint64_t attempt) {
  context_.coverage->Count(Mark::kLeftBehindAnswers);
  const auto it = calls_.find(attempt);
  if (it == calls_.end() || it->second.to != node) return;
  Conclude(attempt, {.happened = Happened::kBroken,
                     .sent = true,
                     .error = absl::UnavailableError("left behind by a recovery"),
                     .address = NodeName(node),
                     .slot = node});
}

client::Circumstances SimClient::CircumstancesAfter(const Call& call,
                                                    const client::Outcome& outcome) {
  client::Circumstances now;
  now.now_us = context_.now_us();
  now.random = random_.Next();
  now.leader = view_.Leader();
  now.leader_up = now.leader.has_value() && view_.node(*now.leader).up;
  now.any_node_up = view_.AnyUp();
  if (!outcome.slot.has_value()) return now;
  now.another_leader_claimed = view_.AnotherLeaderClaimed(*outcome.slot);
  if (IsWrite(call)) return now;
  client::TriedSet tried = call.plan.tried();
  tried.Add(*outcome.slot);
  now.untried_node_left = router_.PickReader(view_, call.policy, tried, now.random).has_value();
  return now;
}

// The attempt ended this way. The next one has another id.
void SimClient::Conclude(uint64_t id, client::Outcome outcome) {
  auto handle = calls_.extract(id);
  Call& call = handle.mapped();
  if (call.to.has_value()) view_.AddInFlight(*call.to, -1);
  call.to.reset();
  const client::NextStep step = call.plan.After(outcome, CircumstancesAfter(call, outcome));
  if (step.refresh) Refresh();
  const uint64_t next = next_attempt_++;
  handle.key() = next;
  calls_.insert(std::move(handle));
  if (step.give_up) return GiveUp(next, step.status);
  if (IsWrite(calls_.at(next))) context_.coverage->Count(Mark::kWriteRetried);
  context_.scheduler->After(step.delay_us, [this, next] {
    if (calls_.count(next) == 0) return;
    if (context_.now_us() >= calls_.at(next).plan.deadline_us()) return OnDeadline(next);
    Route(next);
  });
}

HistoryOp SimClient::HistoryOf(const Call& call) const {
  HistoryOp op;
  op.kind = call.request.kind == Request::Kind::kPut      ? HistoryOp::Kind::kPut
            : call.request.kind == Request::Kind::kDelete ? HistoryOp::Kind::kDelete
                                                          : HistoryOp::Kind::kGet;
  op.value = call.request.value;
  op.begin_us = call.begin_us;
  op.end_us = context_.now_us();
  op.who = who_;
  return op;
}

void SimClient::Succeed(uint64_t id, const Response& response) {
  const Call call = std::move(calls_.extract(id).mapped());
  view_.AddInFlight(*call.to, -1);
  HistoryOp op = HistoryOf(call);
  if (context_.trace->on()) {
    context_.trace->Say(fmt::format("{}: {} of {} {} at {} answered by {}: {} revision {}", who_,
                                    IsWrite(call) ? "write" : "read", call.request.key,
                                    call.request.value, call.begin_us, response.node,
                                    response.value, response.revision.value()));
  }
  if (IsWrite(call)) {
    context_.coverage->Count(Mark::kWriteOk);
    RaiseToken(response.revision);
    const bool may_be_lost = response.reached == AckLevel::kLeader;
    op.version = may_be_lost ? 0 : response.revision.value();
    if (may_be_lost) {
      op.end_us = HistoryOp::kNever;
      context_.checker->OnLeaderLevel(call.request.value);
    }
    context_.checker->OnOperation(call.request.key, std::move(op));
  } else {
    context_.coverage->Count(Mark::kReadOk);
    const bool own_writes = call.request.consistency == Consistency::kOwnWrites;
    if (own_writes && response.applied < call.token) {
      context_.checker->Violate(fmt::format("{} reads revision {} after revision {}", who_,
                                            response.applied.value(), call.token.value()));
    }
    RaiseToken(response.applied);
    if (call.request.consistency == Consistency::kLinearizable) {
      op.found = response.found;
      op.value = response.value;
      op.version = response.version.value();
      context_.checker->OnOperation(call.request.key, std::move(op));
    }
  }
  OnDone(call, true);
}

void SimClient::GiveUp(uint64_t id, const absl::Status& status) {
  const Call call = std::move(calls_.extract(id).mapped());
  if (context_.trace->on()) {
    context_.trace->Say(fmt::format("{} gives up {} {}: {}", who_, call.request.key,
                                    call.request.value, std::string(status.message())));
  }
  if (call.probe) probe_error_ = std::string(status.message());
  if (!IsWrite(call)) {
    context_.coverage->Count(Mark::kReadFailed);
  } else if (DetailOf(status).maybe_applied) {
    context_.coverage->Count(Mark::kWriteUnknown);
    HistoryOp op = HistoryOf(call);
    op.end_us = HistoryOp::kNever;
    context_.checker->OnOperation(call.request.key, std::move(op));
  } else {
    context_.coverage->Count(Mark::kWriteRefused);
    context_.checker->OnRefused(who_, call.request.value);
  }
  OnDone(call, false);
}

void SimClient::OnDone(const Call& call, bool succeeded) {
  if (!call.probe) return Think();
  if (succeeded) ++probe_step_;
  NextProbe();
}

// A failed step is tried again.
void SimClient::NextProbe() {
  if (ProbeDone()) return;
  Call call;
  call.request.key = "probe of " + who_;
  call.probe = true;
  if (probe_step_ == 1) {
    call.request.kind = Request::Kind::kPut;
    call.request.value = NextValue();
  } else {
    call.request.consistency = Consistency::kLinearizable;
    call.request.wait_us = context_.options->call_deadline_us;
  }
  Begin(std::move(call));
}

void SimClient::Probe() {
  Refresh();
  NextProbe();
}

// Asks every node who leads; an answer also shows that the node lives.
void SimClient::Refresh() {
  const uint64_t now_us = context_.now_us();
  if (refreshed_us_ != 0 && now_us < refreshed_us_ + kUrgentRefreshUs) return;
  refreshed_us_ = now_us + 1;
  for (size_t node = 0; node < nodes_; ++node) {
    Request request;
    request.kind = Request::Kind::kStatus;
    request.client = client_;
    rpc_->Send(node, std::move(request));
    context_.scheduler->After(kStatusTimeoutUs, [this, node, asked_us = now_us] {
      if (heard_us_[node] < asked_us) view_.MarkDown(node);
    });
  }
  context_.scheduler->After(kRefreshUs, [this, last = refreshed_us_] {
    if (refreshed_us_ == last) Refresh();
  });
}

}  // namespace skein::sim
