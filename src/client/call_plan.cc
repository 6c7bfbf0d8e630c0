#include "client/call_plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace skein::client {
namespace {

constexpr uint64_t kLeaderBackoffMinUs = 5'000;
constexpr uint64_t kLeaderBackoffMaxUs = 20'000;
constexpr uint64_t kFullBackoffMinUs = 10'000;
constexpr uint64_t kFullBackoffMaxUs = 50'000;

NextStep GiveUp(absl::Status status) {
  NextStep step;
  step.give_up = true;
  step.status = std::move(status);
  return step;
}

std::string NodeName(const Outcome& outcome) {
  return outcome.address.empty() ? std::string("no node") : outcome.address;
}

absl::Status UnreachableError(const Outcome& outcome) {
  return MakeError(absl::StatusCode::kUnavailable,
                   fmt::format("no node of the cluster can be reached; tried {} last: {}",
                               NodeName(outcome), MessageOf(outcome.error)),
                   {.hint = "check the endpoints, and that the nodes are running"});
}

// A read that was refused for this reason may be served by another node.
bool AnotherNodeMayServe(ErrorReason reason) {
  switch (reason) {
    case ErrorReason::kNotLeader:
    case ErrorReason::kNoQuorum:
    case ErrorReason::kBehind:
    case ErrorReason::kQueueFull:
    case ErrorReason::kStale:
    case ErrorReason::kDamagedData:
    case ErrorReason::kShuttingDown:
      return true;
    case ErrorReason::kNone:
    case ErrorReason::kInvalidField:
    case ErrorReason::kOutcomeUnknown:
    case ErrorReason::kDiskReserve:
    case ErrorReason::kPeerRefused:
    case ErrorReason::kDeadline:
    case ErrorReason::kMembershipRefused:
      return false;
  }
  return false;
}

}  // namespace

absl::Status DeadlineError(const std::string& message) {
  return MakeError(absl::StatusCode::kDeadlineExceeded, message,
                   {.reason = ErrorReason::kDeadline,
                    .hint = "certainly without effect: try again, or with a longer deadline"});
}

absl::Status OutcomeUnknownError(const std::string& message) {
  return MakeError(
      absl::StatusCode::kUnknown, message,
      {.reason = ErrorReason::kOutcomeUnknown,
       .maybe_applied = true,
       .hint = "the command may have been applied: read the key before writing again"});
}

uint64_t CallPlan::AttemptMicros(uint64_t usual_us, uint32_t earlier, uint64_t now_us) const {
  constexpr uint32_t kDoublings = 3;
  const uint64_t left_us = deadline_us_ - std::min(now_us, deadline_us_);
  if (earlier == 0) return std::min(usual_us, left_us / 2);
  return std::min(usual_us << std::min(earlier, kDoublings), left_us);
}

NextStep CallPlan::After(const Outcome& outcome, const Circumstances& now) {
  if (outcome.happened == Happened::kShutdown) {
    if (kind_ == CallKind::kWrite && outcome.sent) {
      return GiveUp(OutcomeUnknownError("the client was destroyed before the answer came"));
    }
    return GiveUp(absl::CancelledError("the client was destroyed"));
  }
  if (outcome.happened == Happened::kDeadline) return AfterDeadline(outcome);
  NextStep step = kind_ == CallKind::kRead ? AfterRead(outcome, now) : AfterWrite(outcome, now);
  if (!step.give_up) {
    if (!outcome.error.ok()) last_error_ = outcome.error;
    if (now.now_us >= deadline_us_) {
      Outcome late = outcome;
      late.sent = false;
      return AfterDeadline(late);
    }
    step.delay_us = std::min(step.delay_us, deadline_us_ - now.now_us);
  }
  return step;
}

NextStep CallPlan::AfterRead(const Outcome& outcome, const Circumstances& now) {
  if (outcome.happened == Happened::kRefused) return AfterReadRefused(outcome, now);
  NextStep step = AnotherNode(outcome, now);
  step.refresh = true;
  if (!step.give_up && OutOfPatience(now)) return GiveUp(UnreachableError(outcome));
  return step;
}

NextStep CallPlan::AfterReadRefused(const Outcome& outcome, const Circumstances& now) {
  const ErrorReason reason = DetailOf(outcome.error).reason;
  if (!AnotherNodeMayServe(reason)) return GiveUp(outcome.error);
  const bool final_when_all_agree =
      reason == ErrorReason::kNoQuorum || reason == ErrorReason::kDamagedData;
  if (final_when_all_agree && !now.untried_node_left) return GiveUp(outcome.error);
  NextStep step = AnotherNode(outcome, now);
  step.refresh = reason == ErrorReason::kNotLeader || reason == ErrorReason::kShuttingDown;
  return step;
}

NextStep CallPlan::AnotherNode(const Outcome& outcome, const Circumstances& now) {
  if (outcome.slot.has_value()) tried_.Add(*outcome.slot);
  if (now.untried_node_left) return {};
  tried_.Clear();
  return Later(now, kLeaderBackoffMinUs, kLeaderBackoffMaxUs);
}

NextStep CallPlan::AfterWrite(const Outcome& outcome, const Circumstances& now) {
  if (outcome.happened == Happened::kRefused) return AfterWriteRefused(outcome, now);
  if (outcome.happened == Happened::kBroken) {
    return GiveUp(
        OutcomeUnknownError(fmt::format("the connection to {} broke before the answer: {}",
                                        NodeName(outcome), MessageOf(outcome.error))));
  }
  if (OutOfPatience(now)) return GiveUp(UnreachableError(outcome));
  NextStep step = Later(now, kLeaderBackoffMinUs, kLeaderBackoffMaxUs);
  step.refresh = true;
  return step;
}

NextStep CallPlan::AfterWriteRefused(const Outcome& outcome, const Circumstances& now) {
  const ErrorDetail detail = DetailOf(outcome.error);
  if (detail.maybe_applied) return GiveUp(outcome.error);
  NextStep step;
  switch (detail.reason) {
    case ErrorReason::kNotLeader:
    case ErrorReason::kShuttingDown:
      if (now.leader_up && now.leader != outcome.slot && now.leader != followed_) {
        followed_ = now.leader;
        return step;  // at once
      }
      followed_.reset();
      step = Later(now, kLeaderBackoffMinUs, kLeaderBackoffMaxUs);
      step.refresh = true;
      return step;
    case ErrorReason::kNoQuorum:
      if (!now.another_leader_claimed) {
        NextStep end = GiveUp(outcome.error);
        end.refresh = true;
        return end;
      }
      step = Later(now, kLeaderBackoffMinUs, kLeaderBackoffMaxUs);
      step.refresh = true;
      return step;
    case ErrorReason::kQueueFull:
      return Later(now, kFullBackoffMinUs, kFullBackoffMaxUs);
    case ErrorReason::kNone:
    case ErrorReason::kInvalidField:
    case ErrorReason::kOutcomeUnknown:
    case ErrorReason::kBehind:
    case ErrorReason::kDiskReserve:
    case ErrorReason::kStale:
    case ErrorReason::kDamagedData:
    case ErrorReason::kPeerRefused:
    case ErrorReason::kDeadline:
    case ErrorReason::kMembershipRefused:
      return GiveUp(outcome.error);
  }
  return GiveUp(outcome.error);
}

NextStep CallPlan::AfterDeadline(const Outcome& outcome) const {
  if (kind_ == CallKind::kWrite && outcome.sent) {
    return GiveUp(OutcomeUnknownError(
        fmt::format("no answer from {} before the deadline", NodeName(outcome))));
  }
  const ErrorReason reason = DetailOf(last_error_).reason;
  // These say more than that time ran out, and are as certain.
  if (reason == ErrorReason::kBehind || reason == ErrorReason::kStale ||
      reason == ErrorReason::kQueueFull) {
    return GiveUp(last_error_);
  }
  std::string message = "deadline exceeded";
  if (!outcome.address.empty()) message += fmt::format("; last tried {}", outcome.address);
  if (!last_error_.ok()) message += ": " + MessageOf(last_error_);
  return GiveUp(DeadlineError(message));
}

NextStep CallPlan::Later(const Circumstances& now, uint64_t least_us, uint64_t most_us) {
  NextStep step;
  step.delay_us = least_us + now.random % (most_us - least_us + 1);
  return step;
}

bool CallPlan::OutOfPatience(const Circumstances& now) const {
  return !now.any_node_up && now.now_us >= start_us_ + patience_us_;
}

}  // namespace skein::client
