#include "client/dispatcher.h"

#include <algorithm>
#include <utility>

#include "client/codec.h"
#include "client/completion.h"
#include "common/check.h"

namespace skein::client {
namespace {

constexpr uint64_t kSweepIntervalUs = 5'000;
constexpr uint64_t kUrgentRefreshIntervalUs = 20'000;
constexpr uint64_t kStatusTimeoutUs = 1'000'000;
// The first calls wait so long for the member list, so that even they go to the right node.
constexpr uint64_t kDiscoveryWaitUs = 100'000;
constexpr uint64_t kReopenMinUs = 20'000;
constexpr uint64_t kReopenMaxUs = 1'000'000;
constexpr size_t kBatchBytesMax = 1 << 20;
constexpr size_t kBatchRequestsMax = 1024;

uint64_t Micros(std::chrono::milliseconds duration) {
  return static_cast<uint64_t>(duration.count()) * 1000;
}

RouterOptions RouterOptionsOf(const ClientOptions& options) {
  RouterOptions router;
  router.lag_max_ms = options.lag_max.count();
  router.leader_fallback_max = options.leader_fallback_max;
  return router;
}

}  // namespace

Dispatcher::Dispatcher(const std::vector<std::string>& endpoints, const ClientOptions& options,
                       std::shared_ptr<ChannelPool> channels)
    : options_(options),
      view_(endpoints, options.discover),
      router_(RouterOptionsOf(options)),
      wire_(std::move(channels), this),
      random_(Random::SeedFromSystem()) {
  MutexLock lock(&mu_);  // the loop starts when `loop_` is set
  loop_ = std::thread([this] { Loop(); });
}

Dispatcher::~Dispatcher() {
  SKEIN_CHECK(!OnLoopThread());
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wire_.Wake();
  }
  loop_.join();
}

void Dispatcher::Submit(std::unique_ptr<Operation> operation) {
  if (OnLoopThread()) {
    resubmitted_.push_back(std::move(operation));
    return;
  }
  {
    MutexLock lock(&mu_);
    if (!stopped_) {
      submitted_.push_back(std::move(operation));
      if (loop_waits_.exchange(false)) wire_.Wake();
      return;
    }
  }
  Fail(std::move(operation), absl::CancelledError("the client was destroyed"));
}

void Dispatcher::RunOnLoop(Task task) {
  MutexLock lock(&mu_);
  SKEIN_CHECK(!stopped_);  // a call runs while the client is being destroyed
  tasks_.push_back(std::move(task));
  if (loop_waits_.exchange(false)) wire_.Wake();
}

void Dispatcher::RaiseToken(uint64_t revision) {
  uint64_t seen = token_.load(std::memory_order_relaxed);
  while (seen < revision &&
         !token_.compare_exchange_weak(seen, revision, std::memory_order_acq_rel)) {
  }
}

void Dispatcher::Loop() {
  { MutexLock lock(&mu_); }  // `loop_` is set now
  started_us_ = NowMicros();
  while (true) {
    now_us_ = NowMicros();
    TakeSubmissions();
    for (size_t slot = 0; slot < links_.size(); ++slot) Flush(slot);
    if (now_us_ >= std::max(next_sweep_us_, operations_.earliest_us())) Sweep();
    Refresh();
    bool wait = false;
    {
      MutexLock lock(&mu_);
      if (stopping_) break;
      wait = submitted_.empty() && tasks_.empty();
      loop_waits_ = wait;
    }
    wire_.Poll(wait ? PollTimeout() : 0);
    loop_waits_ = false;
  }
  FailAll();
}

void Dispatcher::TakeSubmissions() {
  std::vector<Task> tasks;
  taken_.swap(resubmitted_);
  {
    MutexLock lock(&mu_);
    tasks.swap(tasks_);
    if (taken_.empty()) {
      taken_.swap(submitted_);
    } else {
      std::move(submitted_.begin(), submitted_.end(), std::back_inserter(taken_));
      submitted_.clear();
    }
  }
  for (Task& task : tasks) task(&view_, &router_);
  for (std::unique_ptr<Operation>& operation : taken_) {
    Route(operations_.Add(std::move(operation)));
  }
  taken_.clear();
}

uint64_t Dispatcher::PollTimeout() {
  uint64_t until = last_refresh_us_ + Micros(options_.refresh_interval);
  if (refresh_wanted_) until = std::min(until, last_refresh_us_ + kUrgentRefreshIntervalUs);
  until = std::min(until, std::max(next_sweep_us_, operations_.earliest_us()));
  if (!resubmitted_.empty()) return 0;
  return until > now_us_ ? until - now_us_ : 0;
}

void Dispatcher::Sweep() {
  next_sweep_us_ = now_us_ + kSweepIntervalUs;
  std::vector<uint64_t> due;
  operations_.Due(now_us_, &due);
  for (const uint64_t id : due) {
    if (operations_.Find(id) != nullptr) OnDue(id);
  }
}

void Dispatcher::OnDue(uint64_t id) {
  Operation* operation = operations_.Find(id);
  const bool assigned =
      operation->state == OperationState::kQueued || operation->state == OperationState::kSent;
  Outcome outcome;
  outcome.sent = operation->state == OperationState::kSent;
  if (assigned) {
    outcome.slot = operation->slot;
    outcome.address = view_.node(operation->slot).address;
  }
  if (now_us_ >= operation->plan.deadline_us()) {
    outcome.happened = Happened::kDeadline;
    return Conclude(id, std::move(outcome));
  }
  if (!assigned) return Route(id);
  // The node did not answer, or could not even be connected, in time: others will tell.
  view_.MarkDown(operation->slot);
  WantRefresh();
  outcome.happened = outcome.sent ? Happened::kSlow : Happened::kNotSent;
  outcome.error = absl::UnavailableError("no answer in time from " + outcome.address);
  Conclude(id, std::move(outcome));
}

void Dispatcher::Refresh() {
  const uint64_t interval =
      refresh_wanted_ ? kUrgentRefreshIntervalUs : Micros(options_.refresh_interval);
  if (last_refresh_us_ != 0 && now_us_ < last_refresh_us_ + interval) return;
  last_refresh_us_ = now_us_;
  refresh_wanted_ = false;
  for (size_t slot = 0; slot < view_.size(); ++slot) {
    Link& link = LinkOf(slot);
    if (!view_.Usable(slot) && link.state == LinkState::kOpen && view_.node(slot).in_flight == 0) {
      Abandon(slot);
    }
    if (!view_.Asked(slot) || link.asking_status) continue;
    link.asking_status = true;
    wire_.AskStatus(slot, view_.node(slot).address, kStatusTimeoutUs);
  }
}

void Dispatcher::Abandon(size_t slot) {
  Link& link = LinkOf(slot);
  if (link.state != LinkState::kOpen) return;
  link.state = LinkState::kBroken;
  link.abandoned = true;
  wire_.Cancel(slot);
}

// In a new history of the cluster sessions begin anew: what they have seen may be lost (R35).
bool Dispatcher::Observe(size_t slot, const NodeReport& report) {
  const uint64_t before = view_.cluster_id();
  const bool leader_changed = view_.Observe(slot, report);
  if (view_.cluster_id() == before) return leader_changed;
  cluster_id_.store(view_.cluster_id(), std::memory_order_release);
  if (before != 0) token_.store(0, std::memory_order_release);
  return leader_changed;
}

Dispatcher::Link& Dispatcher::LinkOf(size_t slot) {
  if (links_.size() <= slot) links_.resize(std::max(view_.size(), slot + 1));
  return links_[slot];
}

void Dispatcher::Route(uint64_t id) {
  Operation* operation = operations_.Find(id);
  if (now_us_ >= operation->plan.deadline_us()) {
    return Conclude(id, {.happened = Happened::kDeadline});
  }
  if (!discovered_ && now_us_ < started_us_ + kDiscoveryWaitUs) {
    operation->state = OperationState::kWaiting;
    return operations_.SetWake(id, started_us_ + kDiscoveryWaitUs);
  }
  const CallPlan& plan = operation->plan;
  const uint64_t random = random_.Next();
  const std::optional<size_t> slot =
      plan.kind() == CallKind::kRead
          ? router_.PickReader(view_, operation->policy, plan.tried(), random)
          : router_.PickWriter(view_, plan.tried(), random);
  if (!slot.has_value()) {
    return Conclude(id, {.happened = Happened::kNotSent,
                         .error = absl::UnavailableError("no node takes the request now")});
  }
  Link& link = LinkOf(*slot);
  if (link.state == LinkState::kClosed) {
    if (now_us_ < link.retry_at_us) {
      return Conclude(id, {.happened = Happened::kNotSent,
                           .error = link.last_error,
                           .address = view_.node(*slot).address,
                           .slot = slot});
    }
    link.state = LinkState::kOpening;
    wire_.Open(*slot, view_.node(*slot).address);
  }
  Enqueue(id, operation, *slot);
}

void Dispatcher::Enqueue(uint64_t id, Operation* operation, size_t slot) {
  operation->state = OperationState::kQueued;
  operation->slot = slot;
  view_.AddInFlight(slot, 1);
  Link& link = LinkOf(slot);
  link.outbox.push_back(id);
  // A write that is on the wire has only its deadline; see Flush.
  const uint64_t attempt_us = operation->plan.AttemptMicros(Micros(options_.read_attempt_timeout),
                                                            operation->attempts++, now_us_);
  const bool write_on_open_link =
      operation->plan.kind() == CallKind::kWrite && link.state == LinkState::kOpen;
  operations_.SetWake(id,
                      write_on_open_link ? operation->plan.deadline_us() : now_us_ + attempt_us);
}

void Dispatcher::Flush(size_t slot) {
  Link& link = links_[slot];
  if (link.state != LinkState::kOpen || link.writing || link.outbox.empty()) return;
  std::string batch;
  size_t requests = 0;
  while (!link.outbox.empty() && requests < kBatchRequestsMax) {
    const uint64_t id = link.outbox.front();
    Operation* operation = operations_.Find(id);
    if (operation == nullptr) {
      link.outbox.pop_front();
      continue;
    }
    const size_t bytes = RequestBytesMax(operation->body);
    if (requests > 0 && batch.size() + bytes > kBatchBytesMax) break;
    if (requests == 0) batch.reserve(std::min(kBatchBytesMax, bytes * link.outbox.size()) + bytes);
    AppendRequest(id, operation->body, &batch);
    operation->state = OperationState::kSent;
    if (operation->plan.kind() == CallKind::kWrite) {
      operations_.SetWake(id, operation->plan.deadline_us());
    }
    link.outbox.pop_front();
    ++requests;
  }
  if (requests == 0) return;
  link.writing = true;
  wire_.Write(slot, std::move(batch));
}

void Dispatcher::OnOpen(size_t slot) {
  LinkOf(slot).state = LinkState::kOpen;
  LinkOf(slot).writing = false;
}

void Dispatcher::OnWritten(size_t slot) { LinkOf(slot).writing = false; }

void Dispatcher::OnAnswers(size_t slot, v1::PipelineResponse* answers) {
  loop_waits_ = false;  // whoever is answered and asks again needs not wake this thread
  now_us_ = NowMicros();
  Link& link = LinkOf(slot);
  link.heard_at_us = now_us_;
  if (answers->responses_size() > 0) link.failures = 0;
  const bool changed = Observe(slot, ReportOf(answers->node()));
  if (view_.node(slot).foreign) return Abandon(slot);
  for (v1::Response& response : *answers->mutable_responses()) {
    OnAnswer(slot, &response, answers->node());
  }
  if (changed) OnLeaderChanged();
}

void Dispatcher::OnAnswer(size_t slot, v1::Response* response, const v1::NodeState& node) {
  const uint64_t id = response->id();
  Operation* operation = operations_.Find(id);
  if (operation == nullptr || operation->state != OperationState::kSent) return;
  if (response->result_case() != v1::Response::kError) return Succeed(id, response, node);
  Outcome outcome;
  outcome.happened = Happened::kRefused;
  outcome.error = DecodeError(response->error());
  outcome.slot = slot;
  outcome.address = view_.node(slot).address;
  const v1::ErrorDetail& detail = response->error().detail();
  view_.ObserveLeaderHint(detail.leader_id(), detail.leader_address(), Term(detail.term()));
  Conclude(id, std::move(outcome));
}

void Dispatcher::OnBroken(size_t slot) { LinkOf(slot).state = LinkState::kBroken; }

void Dispatcher::OnClosed(size_t slot, const absl::Status& why) {
  now_us_ = NowMicros();
  Link& link = LinkOf(slot);
  link.state = LinkState::kClosed;
  link.writing = false;
  link.last_error = why;
  link.retry_at_us = now_us_ + std::min(kReopenMaxUs, kReopenMinUs << std::min(link.failures, 10u));
  ++link.failures;
  link.outbox.clear();
  view_.MarkDown(slot);
  WantRefresh();
  const std::string address = view_.node(slot).address;
  const bool answered_all =
      !std::exchange(link.abandoned, false) && DetailOf(why).reason == ErrorReason::kShuttingDown;
  std::vector<uint64_t> ids;
  operations_.Collect(
      [slot](const Operation& operation) {
        return operation.slot == slot && (operation.state == OperationState::kQueued ||
                                          operation.state == OperationState::kSent);
      },
      &ids);
  for (const uint64_t id : ids) {
    Operation* operation = operations_.Find(id);
    if (operation == nullptr) continue;
    const bool sent = operation->state == OperationState::kSent && !answered_all;
    Conclude(id, {.happened = sent ? Happened::kBroken : Happened::kNotSent,
                  .sent = sent,
                  .error = why,
                  .address = address,
                  .slot = slot});
  }
}

void Dispatcher::OnStatus(size_t slot, const absl::Status& error,
                          const v1::StatusResponse& status) {
  now_us_ = NowMicros();
  Link& link = LinkOf(slot);
  link.asking_status = false;
  if (!error.ok()) {
    // A node that answers calls is alive, even if it is too busy for this one.
    const bool heard_lately = now_us_ - link.heard_at_us < kStatusTimeoutUs;
    if (!heard_lately) view_.MarkDown(slot);
    return;
  }
  link.retry_at_us = 0;
  const bool changed = Observe(slot, ReportOf(status));
  if (view_.node(slot).foreign) return Abandon(slot);
  view_.ObserveMembers(MembersOf(status));
  if (!discovered_) {
    discovered_ = true;
    std::vector<uint64_t> ids;
    operations_.Collect(
        [](const Operation& operation) { return operation.state == OperationState::kWaiting; },
        &ids);
    for (const uint64_t id : ids) {
      if (operations_.Find(id) != nullptr) Route(id);
    }
  } else if (changed) {
    OnLeaderChanged();
  }
}

// Writes that wait for the old leader and are not on the wire yet go to the new one.
void Dispatcher::OnLeaderChanged() {
  const std::optional<size_t> leader = view_.Leader();
  if (!leader.has_value() || !view_.node(*leader).up) return;
  std::vector<uint64_t> ids;
  operations_.Collect(
      [leader](const Operation& operation) {
        if (operation.plan.kind() != CallKind::kWrite) return false;
        return operation.state == OperationState::kWaiting ||
               (operation.state == OperationState::kQueued && operation.slot != *leader);
      },
      &ids);
  for (const uint64_t id : ids) {
    Unassign(operations_.Find(id));
    const uint64_t next = operations_.Rename(id);
    operations_.Find(next)->state = OperationState::kWaiting;
    Route(next);
  }
}

void Dispatcher::Unassign(Operation* operation) {
  if (operation->state == OperationState::kQueued || operation->state == OperationState::kSent) {
    view_.AddInFlight(operation->slot, -1);
  }
}

Circumstances Dispatcher::CircumstancesAfter(const Operation& operation, const Outcome& outcome) {
  Circumstances now;
  now.now_us = now_us_;
  now.random = random_.Next();
  now.leader = view_.Leader();
  now.leader_up = now.leader.has_value() && view_.node(*now.leader).up;
  now.any_node_up = view_.AnyUp();
  if (outcome.slot.has_value()) {
    now.another_leader_claimed = view_.AnotherLeaderClaimed(*outcome.slot);
  }
  if (operation.plan.kind() == CallKind::kRead && outcome.slot.has_value()) {
    TriedSet tried = operation.plan.tried();
    tried.Add(*outcome.slot);
    now.untried_node_left =
        router_.PickReader(view_, operation.policy, tried, now.random).has_value();
  }
  return now;
}

void Dispatcher::Conclude(uint64_t id, Outcome outcome) {
  Operation* operation = operations_.Find(id);
  Unassign(operation);
  operation->state = OperationState::kWaiting;
  NextStep step = operation->plan.After(outcome, CircumstancesAfter(*operation, outcome));
  if (step.refresh) WantRefresh();
  if (step.give_up) return Fail(operations_.Release(id), step.status);
  const uint64_t next = operations_.Rename(id);
  if (step.delay_us == 0) return Route(next);
  operations_.SetWake(next, now_us_ + step.delay_us);
}

void Dispatcher::Succeed(uint64_t id, v1::Response* response, const v1::NodeState& node) {
  Unassign(operations_.Find(id));
  Complete(operations_.Release(id), response, node,
           [this](uint64_t revision) { RaiseToken(revision); });
}

void Dispatcher::FailAll() {
  std::vector<uint64_t> ids;
  operations_.Collect([](const Operation&) { return true; }, &ids);
  for (const uint64_t id : ids) {
    Conclude(id, {.happened = Happened::kShutdown,
                  .sent = operations_.Find(id)->state == OperationState::kSent});
  }
  std::vector<std::unique_ptr<Operation>> left;
  std::vector<Task> tasks;
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    left.swap(submitted_);
    tasks.swap(tasks_);
  }
  for (Task& task : tasks) task(&view_, &router_);
  while (!left.empty() || !resubmitted_.empty()) {
    for (auto& operation : left) {
      Fail(std::move(operation), absl::CancelledError("the client was destroyed"));
    }
    left.clear();
    left.swap(resubmitted_);
  }
  wire_.Shutdown();
}

}  // namespace skein::client
