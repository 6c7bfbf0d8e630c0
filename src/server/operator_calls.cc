#include "server/operator_calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "common/error.h"

namespace skein {
namespace {

const char* HintFor(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kNotFound:
      return "name a member; `skein member list` shows them";
    case absl::StatusCode::kAlreadyExists:
      return "`skein member list` shows what there is";
    case absl::StatusCode::kFailedPrecondition:
      return "`skein status` shows how the members are";
    default:
      return "try again";
  }
}

absl::Status Refused(const absl::Status& status) {
  return MakeError(status.code(), MessageOf(status),
                   {.reason = ErrorReason::kMembershipRefused, .hint = HintFor(status.code())});
}

}  // namespace

absl::Status OperatorCalls::NoSuchMember(const Membership& membership, const std::string& name) {
  std::vector<std::string> names;
  for (const Member& member : membership.members) names.push_back(member.name);
  std::sort(names.begin(), names.end());
  return absl::NotFoundError(
      fmt::format("{} is not a member; the members are {}", name, fmt::join(names, ", ")));
}

absl::Status OperatorCalls::NotLeader(const Replica& replica) const {
  const Core& core = replica.core();
  const MembershipsInForce memberships = core.memberships();
  const Member* leader = memberships.Find(core.leader());
  ErrorDetail detail{.reason = ErrorReason::kNotLeader,
                     .term = core.term().value(),
                     .hint = "an election is under way, try again"};
  std::string message = options_.node_name + " is not the leader and knows none at the moment";
  if (leader != nullptr) {
    detail.leader_id = leader->name;
    detail.leader_address = leader->address;
    detail.hint = "ask the leader";
    message = fmt::format("{} is not the leader, {} is", options_.node_name, leader->name);
  }
  return MakeError(absl::StatusCode::kUnavailable, message, detail);
}

// What the replica said, with what a program and an operator need.
absl::Status OperatorCalls::Explain(const Replica& replica, const absl::Status& status) const {
  if (absl::IsUnknown(status)) {
    return MakeError(status.code(), MessageOf(status),
                     {.reason = ErrorReason::kOutcomeUnknown,
                      .maybe_applied = true,
                      .hint = "`skein member list` shows whether it took effect"});
  }
  if (!replica.fatal().ok()) {
    return MakeError(absl::StatusCode::kUnavailable, options_.node_name + " is stopping",
                     {.reason = ErrorReason::kShuttingDown, .hint = "ask another node"});
  }
  if (absl::IsUnavailable(status) && replica.core().role() != Role::kLeader) {
    return NotLeader(replica);
  }
  return Refused(status);
}

void OperatorCalls::Change(MakeChange make, ChangeDone done) {
  WaitingChange change{clock_->MonotonicMicros() + options_.change_wait_us, std::move(make),
                       std::move(done)};
  loop_->PostTask([this, change = std::move(change)](Replica& replica) mutable {
    Try(replica, std::move(change));
  });
}

bool OperatorCalls::MustWait(const Replica& replica) const {
  const Core& core = replica.core();
  if (!replica.fatal().ok() || core.role() != Role::kLeader) return false;
  if (!core.CommittedInTerm() || core.transferring()) return true;
  return changes_under_way_ == 0 && core.memberships().newest.index > core.commit();
}

void OperatorCalls::Try(Replica& replica, WaitingChange change) {
  if (MustWait(replica)) {
    changes_.push_back(std::move(change));
    return;
  }
  if (replica.core().role() != Role::kLeader) return change.done(NotLeader(replica));
  absl::StatusOr<MembershipChange> wanted = change.make(replica.core().membership());
  if (!wanted.ok()) return change.done(Explain(replica, wanted.status()));
  const auto* removal = std::get_if<RemoveMember>(&*wanted);
  const bool of_self = removal != nullptr && removal->id == replica.core().self();
  if (of_self && replica.core().membership().VoterCount() > 1) {
    const absl::Status refused = replica.core().RefuseChange(*wanted);
    if (!refused.ok()) return change.done(Explain(replica, refused));
    HandOverFirst(replica, *wanted, std::move(change));
  } else {
    Make(replica, *wanted, std::move(change));
  }
}

void OperatorCalls::Make(Replica& replica, const MembershipChange& wanted, WaitingChange change) {
  ++changes_under_way_;
  replica.Change(wanted, change.deadline_us,
                 [this, &replica, done = std::move(change.done)](absl::Status status) mutable {
                   --changes_under_way_;
                   if (!status.ok()) return done(Explain(replica, status));
                   done(replica.core().memberships());
                 });
}

// If nobody takes over, this node removes itself.
void OperatorCalls::HandOverFirst(Replica& replica, const MembershipChange& wanted,
                                  WaitingChange change) {
  auto shared = std::make_shared<WaitingChange>(std::move(change));
  Begin(replica, "", [this, &replica, wanted, shared](absl::StatusOr<Handover> handover) {
    if (handover.ok()) return shared->done(NotLeader(replica));
    if (replica.core().role() != Role::kLeader) return shared->done(handover.status());
    // As a task: what it appends is to be performed.
    loop_->PostTask([this, wanted, shared](Replica& of) { Make(of, wanted, std::move(*shared)); });
  });
}

void OperatorCalls::Transfer(std::string target, TransferDone done) {
  loop_->PostTask([this, target = std::move(target), done = std::move(done)](
                      Replica& replica) mutable { Begin(replica, target, std::move(done)); });
}

void OperatorCalls::Begin(Replica& replica, const std::string& target, TransferDone done) {
  const Membership& membership = replica.core().membership();
  if (replica.core().role() != Role::kLeader) return done(NotLeader(replica));
  NodeId id;
  if (!target.empty()) {
    const Member* member = membership.Find(NodeIdOf(target));
    if (member == nullptr) return done(Refused(NoSuchMember(membership, target)));
    id = member->id;
  }
  const uint64_t began_us = clock_->MonotonicMicros();
  replica.Transfer(
      id, [this, &replica, began_us, done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) return done(Explain(replica, status));
        const uint64_t deadline_us = clock_->MonotonicMicros() + options_.leader_wait_us;
        transfers_.push_back({began_us, deadline_us, std::move(done)});
      });
}

// True: it was answered.
bool OperatorCalls::Settle(const Replica& replica, WaitingTransfer* transfer) const {
  const Core& core = replica.core();
  const uint64_t now_us = clock_->MonotonicMicros();
  if (!replica.fatal().ok()) {
    transfer->done(Explain(replica, absl::UnavailableError("stopping")));
  } else if (core.leader() == core.self()) {
    transfer->done(Refused(absl::AbortedError(options_.node_name + " was elected again at once")));
  } else if (core.leader() != NodeId()) {
    transfer->done(Handover{core.membership().NameOf(core.leader()), core.term(),
                            now_us - transfer->began_us});
  } else if (now_us >= transfer->deadline_us) {
    transfer->done(NotLeader(replica));
  } else {
    return false;
  }
  return true;
}

void OperatorCalls::AfterPerform(Replica& replica) {
  std::erase_if(transfers_, [&](WaitingTransfer& transfer) { return Settle(replica, &transfer); });
  if (changes_.empty()) return;
  if (!MustWait(replica)) {
    // As a task: what it appends is to be performed.
    loop_->PostTask([this, change = std::move(changes_.front())](Replica& of) mutable {
      Try(of, std::move(change));
    });
    changes_.pop_front();
  } else if (clock_->MonotonicMicros() >= changes_.front().deadline_us) {
    changes_.front().done(
        Refused(absl::UnavailableError(options_.node_name + " is busy with a change of its own")));
    changes_.pop_front();
  }
}

}  // namespace skein
