#include "storage/reconcile.h"

#include <optional>
#include <utility>

namespace skein {
namespace {

// Whether the log goes on from the very entry with which the snapshot ends, or from a later one.
absl::StatusOr<bool> Continues(const RocksLogStore& log, const LogRecovery& recovery,
                               const LogPoint& snapshot) {
  if (snapshot.at.index <= recovery.base.point.at.index) return true;
  if (snapshot.at.index > recovery.last.at.index) return false;
  const absl::StatusOr<LogPoint> point = log.PointAt(snapshot.at.index);
  if (!point.ok()) return point.status();
  return *point == snapshot;
}

absl::Status CompleteInstall(RocksLogStore* log, const LogBase& installed, LogRecovery* recovery) {
  const absl::StatusOr<bool> continues = Continues(*log, *recovery, installed.point);
  if (!continues.ok() || *continues) return continues.status();
  absl::StatusOr<LogRecovery> reset = log->WriteAtOnce({.reset = installed});
  if (reset.ok()) *recovery = *std::move(reset);
  return reset.status();
}

}  // namespace

absl::Status ReconcileLogAndState(RocksLogStore* log, KvStateMachine* state,
                                  LogRecovery* recovery) {
  const std::optional<LogBase> installed = state->RecoveredInstall();
  if (installed.has_value()) {
    const absl::Status completed = CompleteInstall(log, *installed, recovery);
    if (!completed.ok()) return completed;
  }
  const Index applied = state->Recovered().at.index;
  if (applied < recovery->base.point.at.index) return absl::OkStatus();  // they do not fit
  Membership membership = recovery->base.membership;
  for (const MembershipAt& change : recovery->memberships) {
    if (change.index <= applied) membership = change.membership;
  }
  return state->AdoptMembership(membership);
}

}  // namespace skein
