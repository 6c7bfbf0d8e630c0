#include "tests/sim/sim_server.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "replication/command.h"

namespace skein::sim {
namespace {

constexpr uint64_t kWriteWaitUs = 3'000'000;
constexpr uint64_t kIdOfName = 0x10000;  // of the cluster
constexpr uint64_t kNotProven = ~uint64_t{0};

absl::Status Refuse(absl::StatusCode code, ErrorReason reason, const std::string& leader,
                    Term term) {
  ErrorDetail detail;
  detail.reason = reason;
  detail.leader_id = leader;
  detail.leader_address = leader;
  detail.term = term.value();
  detail.maybe_applied = reason == ErrorReason::kOutcomeUnknown;
  return MakeError(code, ErrorReasonName(reason), detail);
}

}  // namespace

SimServer::SimServer(const SimContext& context, size_t node, uint64_t history, Replica* replica,
                     const SimStateMachine* state, const Clock* clock, SimRpc* rpc)
    : context_(context),
      node_(node),
      history_(history),
      replica_(replica),
      state_(state),
      clock_(clock),
      rpc_(rpc) {}

void SimServer::OnRequest(Request request) {
  switch (request.kind) {
    case Request::Kind::kPut:
    case Request::Kind::kDelete:
      return Write(std::move(request));
    case Request::Kind::kGet:
      return Read(std::move(request));
    case Request::Kind::kStatus:
      Response response;
      response.members = Members();
      return Reply(request, std::move(response));
  }
}

// Only a leader knows how far the others are behind.
client::MemberList SimServer::Members() const {
  const Core& core = replica_->core();
  client::MemberList list{.index = core.memberships().committed.index};
  for (const skein::Member& member : core.memberships().committed.membership.members) {
    // One that was moved is reached where it was.
    client::Member known{member.name, NodeName(member.id.value() - 1), member.voter, std::nullopt};
    if (core.role() == Role::kLeader) {
      known.lag_ms = static_cast<int64_t>(replica_->LagOf(member.id).milliseconds);
    }
    list.members.push_back(std::move(known));
  }
  return list;
}

void SimServer::Write(Request request) {
  const bool is_delete = request.kind == Request::Kind::kDelete;
  const uint64_t now_us = clock_->MonotonicMicros();
  Proposal proposal;
  if (is_delete) {
    AppendDelete(&proposal.payload, request.key);
  } else {
    AppendPut(&proposal.payload, request.key, request.value);
  }
  proposal.command_count = 1;
  proposal.wants_outcomes = is_delete;
  proposal.level = request.level;
  proposal.all_deadline_us = now_us + request.wait_us;
  proposal.deadline_us = std::max(now_us + kWriteWaitUs, proposal.all_deadline_us);
  proposal.done = [this, alive = alive_, request = std::move(request)](ProposalResult result) {
    if (*alive) OnWritten(request, result);
  };
  replica_->Propose(std::move(proposal));
}

void SimServer::OnWritten(const Request& request, const ProposalResult& result) {
  if (result.outcome == Outcome::kRejected) context_.coverage->Count(Mark::kWriteRejected);
  if (result.outcome == Outcome::kQueueFull) context_.coverage->Count(Mark::kQueueFull);
  if (result.outcome != Outcome::kOk) return Fail(request, RefusalOf(result.outcome));
  if (request.level == AckLevel::kAll) {
    context_.coverage->Count(result.reached == AckLevel::kAll ? Mark::kAllReached
                                                              : Mark::kAllTimedOut);
  }
  if (result.reached != AckLevel::kLeader) context_.checker->OnAcknowledged(result.first_revision);
  Response response;
  response.revision = result.first_revision;
  response.reached = result.reached;
  Reply(request, std::move(response));
}

absl::Status SimServer::RefusalOf(Outcome outcome) const {
  const Core& core = replica_->core();
  const NodeId id = core.leader();
  const std::string leader = id == NodeId() ? "" : NodeName(id.value() - 1);
  switch (outcome) {
    case Outcome::kUnknown:
      return Refuse(absl::StatusCode::kUnknown, ErrorReason::kOutcomeUnknown, leader, core.term());
    case Outcome::kQueueFull:
      return Refuse(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, leader,
                    core.term());
    case Outcome::kStopping:
      return Refuse(absl::StatusCode::kUnavailable, ErrorReason::kShuttingDown, leader,
                    core.term());
    case Outcome::kNoQuorum:
      return Refuse(absl::StatusCode::kUnavailable, ErrorReason::kNoQuorum, leader, core.term());
    case Outcome::kOk:
    case Outcome::kRejected:
    case Outcome::kNotLeader:
      break;
  }
  const bool no_quorum = leader.empty() && !core.ReachesQuorum();
  return Refuse(absl::StatusCode::kUnavailable,
                no_quorum ? ErrorReason::kNoQuorum : ErrorReason::kNotLeader, leader, core.term());
}

uint64_t SimServer::StalenessMicros() const {
  const uint64_t stamp_us = replica_->core().fresh_stamp_us();
  return stamp_us == 0 ? kNotProven : clock_->MonotonicMicros() - stamp_us;
}

void SimServer::Read(Request request) {
  const bool leads = replica_->core().role() == Role::kLeader;
  switch (request.consistency) {
    case Consistency::kAny:
      return Serve(request);
    case Consistency::kLinearizable:
      return ReadLinearizable(std::move(request));
    case Consistency::kBounded:
      if (leads) return ReadLinearizable(std::move(request));
      if (StalenessMicros() <= request.bound_us) {
        context_.coverage->Count(Mark::kReadBounded);
        context_.checker->OnBoundedRead(node_, state_->state().applied.revision, request.bound_us);
        return Serve(request);
      }
      context_.coverage->Count(Mark::kReadBehind);
      return Fail(request, Refuse(absl::StatusCode::kUnavailable, ErrorReason::kStale, "", Term()));
    case Consistency::kOwnWrites:
    case Consistency::kAtLeast:
      if (request.at_least <= state_->state().applied.revision) return Serve(request);
      const Revision revision = request.at_least;
      const uint64_t deadline_us = clock_->MonotonicMicros() + request.wait_us;
      waiting_.emplace(revision, Waiting{deadline_us, std::move(request)});
  }
}

void SimServer::ReadLinearizable(Request request) {
  const uint64_t deadline_us = clock_->MonotonicMicros() + request.wait_us;
  replica_->Read(deadline_us,
                 [this, alive = alive_, request = std::move(request)](ReadOutcome outcome) {
                   if (!*alive) return;
                   if (outcome == ReadOutcome::kNotConfirmed) {
                     return Fail(request, RefusalOf(Outcome::kNotLeader));
                   }
                   if (outcome == ReadOutcome::kBehind) return FailBehind(request);
                   if (outcome == ReadOutcome::kQueueFull) {
                     context_.coverage->Count(Mark::kReadQueueFull);
                     return Fail(request, RefusalOf(Outcome::kQueueFull));
                   }
                   context_.coverage->Count(Mark::kReadLinearizable);
                   if (replica_->core().role() != Role::kLeader) {
                     context_.coverage->Count(Mark::kReadOnFollower);
                   }
                   Serve(request);
                 });
}

void SimServer::AfterPerform() {
  const Revision applied = state_->state().applied.revision;
  while (!waiting_.empty() && waiting_.begin()->first <= applied) {
    const Request request = std::move(waiting_.begin()->second.request);
    waiting_.erase(waiting_.begin());
    Serve(request);
  }
  const uint64_t now_us = clock_->MonotonicMicros();
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (now_us < it->second.deadline_us) {
      ++it;
      continue;
    }
    FailBehind(it->second.request);
    it = waiting_.erase(it);
  }
}

void SimServer::Serve(const Request& request) {
  Response response;
  const auto& data = state_->state().data;
  const auto it = data.find(request.key);
  if (it != data.end()) {
    response.found = true;
    response.value = it->second.value;
    response.version = it->second.version;
  }
  Reply(request, std::move(response));
}

void SimServer::Fail(const Request& request, absl::Status error) {
  Response response;
  response.error = std::move(error);
  Reply(request, std::move(response));
}

void SimServer::FailBehind(const Request& request) {
  context_.coverage->Count(Mark::kReadBehind);
  Fail(request, Refuse(absl::StatusCode::kDeadlineExceeded, ErrorReason::kBehind, "", Term()));
}

void SimServer::Reply(const Request& request, Response response) {
  const Core& core = replica_->core();
  response.id = request.id;
  response.node = NodeName(node_);
  response.cluster_id = kIdOfName ^ history_;
  response.history = history_;
  const NodeId leader = core.leader();
  if (leader != NodeId()) response.leader = NodeName(leader.value() - 1);
  response.term = core.term();
  response.applied = state_->state().applied.revision;
  const uint64_t staleness_us = StalenessMicros();
  if (core.role() == Role::kLeader) {
    response.staleness_ms = 0;
  } else if (staleness_us != kNotProven) {
    response.staleness_ms = static_cast<int64_t>(staleness_us / 1000);
  }
  rpc_->Reply(node_, request.client, std::move(response));
}

}  // namespace skein::sim
