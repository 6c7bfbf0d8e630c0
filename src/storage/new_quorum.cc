#include "storage/new_quorum.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "fmt/format.h"
#include "replication/core/forced_quorum.h"
#include "storage/reconcile.h"

namespace skein {
namespace {

absl::Status Refused(const std::string& message) {
  return absl::Status(absl::StatusCode::kFailedPrecondition, message);
}

// The newest in the log, committed or not (R23).
const Membership& NewestOf(const LogRecovery& recovery) {
  return recovery.memberships.empty() ? recovery.base.membership
                                      : recovery.memberships.back().membership;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NewQuorum>> NewQuorum::Open(const StorageOptions& options,
                                                           const std::string& data_directory) {
  auto directory = DataDirectory::OpenExisting(data_directory);
  if (!directory.ok()) return directory.status();
  if (!RocksLogStore::Exists(data_directory)) {
    return Refused(fmt::format("{} holds no log: this node has never been part of the cluster",
                               data_directory));
  }
  std::unique_ptr<NewQuorum> quorum(new NewQuorum(*std::move(directory)));
  const absl::Status opened = quorum->OpenStores(options);
  if (!opened.ok()) return opened;
  quorum->Describe();
  return quorum;
}

// As a node does when it starts.
absl::Status NewQuorum::OpenStores(const StorageOptions& options) {
  const std::string& path = directory_->path();
  auto log = RocksLogStore::Open(options, path, Membership{});
  if (!log.ok()) return log.status();
  log_ = *std::move(log);
  auto recovered = log_->Recover();
  if (!recovered.ok()) return recovered.status();
  recovery_ = *std::move(recovered);
  auto state = KvStateMachine::Open(options, path);
  if (!state.ok()) return state.status();
  state_ = *std::move(state);
  const Index begins_after = recovery_.base.point.at.index;
  const Index ends_at = state_->Recovered().at.index;
  if (ends_at >= begins_after) return ReconcileLogAndState(log_.get(), state_.get(), &recovery_);
  return absl::DataLossError(
      fmt::format("{}/state ends at index {}, but the log begins only after index {}: the state "
                  "was damaged or removed",
                  path, ends_at.value(), begins_after.value()));
}

// The state's, where it is ahead of a log that has lost its end: the log will begin anew with it.
Membership NewQuorum::NewestMembership() const {
  const bool ahead = state_->Recovered().at.index > recovery_.last.at.index;
  Membership of_state = state_->membership();  // empty: as the cluster began
  return ahead && !of_state.members.empty() ? of_state : NewestOf(recovery_);
}

void NewQuorum::Describe() {
  survivor_ = {.identity = directory_->identity(),
               .membership = NewestMembership(),
               .last = recovery_.last,
               .term = recovery_.hard_state.term,
               .applied = state_->Recovered().at.index};
  survivor_.committed = std::max(recovery_.hard_state.commit, survivor_.applied);
  survivor_.acknowledged = std::max(recovery_.acknowledged, survivor_.applied);
  for (const EntryPtr& entry : recovery_.tail) {
    if (entry->index() > survivor_.committed) {
      survivor_.uncommitted_commands += entry->command_count();
    }
  }
}

absl::Status NewQuorum::Check(bool accept_lost) const {
  const Identity& identity = survivor_.identity;
  const Member* self = survivor_.membership.Find(identity.node_id);
  if (self == nullptr) {
    return Refused(
        fmt::format("{} was removed from the cluster, and does not know what was "
                    "written since: take another node",
                    identity.node_name));
  }
  if (survivor_.acknowledged == Index()) {
    return Refused(
        fmt::format("{} has received nothing of the cluster's log yet: take another node, or begin "
                    "a new cluster",
                    identity.node_name));
  }
  const bool whole = !survivor_.HasLostEntries() && !identity.recovery_unfinished;
  if (survivor_.LeadsAlone() && whole) {
    return Refused(
        fmt::format("{} is the only voter of its cluster already, there is nothing to "
                    "recover: start it",
                    identity.node_name));
  }
  if (!survivor_.HasLostEntries() || accept_lost) return absl::OkStatus();
  return Refused(fmt::format(
      "the log of {} was damaged: it ends at index {}, but this node has "
      "acknowledged {}, which other nodes may have counted on: take another "
      "node if there is one",
      identity.node_name, survivor_.last.at.index.value(), survivor_.acknowledged.value()));
}

absl::Status NewQuorum::Force(bool accept_lost, uint64_t wall_ms) {
  absl::Status status = Check(accept_lost);
  if (!status.ok()) return status;
  // From here on no node of the history so far lets this one in, and none starts here.
  const Identity& identity = directory_->identity();
  const bool begun = identity.recovery_unfinished;
  if (!begun) {
    status = directory_->BeginHistory(NewHistoryOf(identity.cluster_token));
  }
  if (status.ok()) status = state_->incoming()->Discard();
  if (status.ok()) status = SettleLost();
  if (status.ok() && !(begun && HasAppended())) status = AppendMembership(wall_ms);
  if (!status.ok()) return status;
  directory_->ForgetPeersExcept({identity.node_id});
  status = directory_->SavePeers();
  if (status.ok()) status = directory_->FinishHistory();
  if (status.ok()) Describe();
  return status;
}

absl::Status NewQuorum::SettleLost() {
  const LogPoint applied = state_->Recovered();
  absl::StatusOr<LogRecovery> settled = recovery_;
  if (applied.at.index > recovery_.last.at.index) {
    settled =
        log_->WriteAtOnce({.reset = LogBase{.point = applied, .membership = NewestMembership()}});
  }
  if (settled.ok()) settled = log_->ForgetLost();
  if (settled.ok()) recovery_ = *std::move(settled);
  return settled.status();
}

// Of an attempt that was broken off. Nobody was elected since, as after an earlier recovery.
bool NewQuorum::HasAppended() const {
  const Term last = recovery_.last.at.term;
  return BeginsHistory(last) && recovery_.hard_state.term == last;
}

absl::Status NewQuorum::AppendMembership(uint64_t wall_ms) {
  const Identity& identity = survivor_.identity;
  absl::StatusOr<LogRecovery> written = log_->WriteAtOnce(ForceQuorum(
      recovery_, survivor_.membership, identity.node_id, identity.incarnation, wall_ms));
  if (written.ok()) recovery_ = *std::move(written);
  return written.status();
}

}  // namespace skein
