#include "server/node_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "server/join.h"
#include "storage/reconcile.h"

namespace skein {
namespace {

constexpr char kDefaultToken[] = "skein";

Membership Founded(const NodeOptions& options) {
  Membership membership;
  for (const auto& [name, address] : options.initial_cluster) {
    const bool self = name == options.name && !options.advertise.empty();
    membership.members.push_back(
        {NodeIdOf(name), name, self ? options.advertise : address, /*voter=*/true});
  }
  std::sort(membership.members.begin(), membership.members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  return membership;
}

// A change that was made, or a data directory that the leader has recorded, is in the log.
bool LogKnowsMembers(const LogRecovery& recovery) {
  const auto& members = recovery.base.membership.members;
  return !recovery.memberships.empty() ||
         std::any_of(members.begin(), members.end(),
                     [](const Member& member) { return member.incarnation != 0; });
}

// The members as the log began with them, at the addresses that the operator gives now.
absl::Status TakeAddresses(const Membership& given, const std::string& directory,
                           Membership* recorded) {
  bool same = given.members.size() == recorded->members.size();
  for (Member& member : recorded->members) {
    const Member* now = given.Find(member.id);
    same = same && now != nullptr;
    if (now != nullptr) member.address = now->address;
  }
  if (same) return absl::OkStatus();
  std::string names;
  for (const Member& member : recorded->members) names += (names.empty() ? "" : ",") + member.name;
  return absl::FailedPreconditionError(fmt::format(
      "{} belongs to a cluster of {}; name the same nodes in --initial-cluster, or use another "
      "--data-dir",
      directory, names));
}

// With what a new log begins.
struct Beginning {
  std::string token;
  uint64_t history = 0;
  Membership membership;
  Index told;
};

absl::StatusOr<Beginning> BeginWith(const NodeOptions& options, uint64_t incarnation,
                                    Logger* logger) {
  if (!options.initial_cluster.empty()) {
    const std::string& token = options.cluster_token;
    return Beginning{.token = token.empty() ? kDefaultToken : token,
                     .membership = Founded(options)};
  }
  if (options.join.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "{} holds no data yet: found a cluster by --initial-cluster {}=HOST:PORT,..., or join one "
        "by --join HOST:PORT",
        options.data_directory, options.name));
  }
  absl::StatusOr<ClusterTold> told = AskForCluster(options, incarnation, logger);
  if (!told.ok()) return told.status();
  return Beginning{.token = told->token,
                   .history = told->history,
                   .membership = std::move(told->membership),
                   .told = told->index};
}

// What the log has lost of its end comes back from the leader, if there can be another one.
absl::Status CheckComplete(const NodeOptions& options, const NodeStorage& storage, Logger* logger) {
  const LogRecovery& recovery = storage.recovery;
  const Index owed = std::max(recovery.acknowledged, storage.state->Recovered().at.index);
  if (recovery.last.at.index >= owed) return absl::OkStatus();
  const std::string text =
      fmt::format("log {}/log is damaged: it ends at index {}, but this node has acknowledged {}",
                  options.data_directory, recovery.last.at.index.value(), owed.value());
  const Membership& members = recovery.memberships.empty() ? recovery.base.membership
                                                           : recovery.memberships.back().membership;
  const bool alone = members.VoterCount() == 1 && members.IsVoter(NodeIdOf(options.name));
  if (!alone) {
    logger->Event(LogLevel::kWarning, "log_damaged", {{"text", text}});
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kDataLoss, text,
                   {.reason = ErrorReason::kDamagedData,
                    .hint = "No other node holds the missing entries: restore the data directory "
                            "from a copy, or go on without them: skein cluster recover "
                            "--accept-lost-entries. See docs/operating.md."});
}

absl::Status OpenState(const NodeOptions& options, NodeStorage* storage, Logger* logger) {
  auto state = KvStateMachine::Open(options.storage, options.data_directory);
  if (!state.ok()) return state.status();
  storage->state = std::move(*state);
  storage->state->SetDamageListener([logger](const absl::Status& damage) {
    logger->Event(LogLevel::kError, "state_damaged", {{"text", MessageAndHintOf(damage)}});
  });
  const Index begins_after = storage->recovery.base.point.at.index;
  const Index ends_at = storage->state->Recovered().at.index;
  if (ends_at >= begins_after) {
    return ReconcileLogAndState(storage->log.get(), storage->state.get(), &storage->recovery);
  }
  return absl::DataLossError(fmt::format(
      "{}/state ends at index {}, but the log begins only after index {}: the state was damaged "
      "or removed. Restore the directory from a copy, or give this node a new, empty one",
      options.data_directory, ends_at.value(), begins_after.value()));
}

absl::Status OpenLog(const NodeOptions& options, const Membership& beginning,
                     NodeStorage* storage) {
  auto log = RocksLogStore::Open(options.storage, options.data_directory, beginning);
  if (!log.ok()) return log.status();
  storage->log = std::move(*log);
  auto recovered = storage->log->Recover();
  if (!recovered.ok()) return recovered.status();
  storage->recovery = std::move(*recovered);
  if (options.initial_cluster.empty() || LogKnowsMembers(storage->recovery)) {
    return absl::OkStatus();
  }
  return TakeAddresses(Founded(options), options.data_directory,
                       &storage->recovery.base.membership);
}

// Who was not always a member may have been removed and added again, with another data directory.
void ForgetReturned(const LogRecovery& recovery, DataDirectory* directory) {
  std::set<NodeId> always;
  for (const Member& member : recovery.base.membership.members) always.insert(member.id);
  for (const MembershipAt& at : recovery.memberships) {
    std::erase_if(always, [&at](NodeId id) { return at.membership.Find(id) == nullptr; });
  }
  directory->ForgetPeersExcept(std::move(always));
}

}  // namespace

absl::StatusOr<NodeStorage> OpenNodeStorage(const NodeOptions& options, Logger* logger) {
  const std::string& path = options.data_directory;
  NodeStorage storage;
  std::error_code ignored;
  const std::filesystem::path parent = std::filesystem::absolute(path).parent_path();
  std::filesystem::create_directories(parent, ignored);
  const auto identity = DataDirectory::Peek(path);
  if (!identity.ok()) return identity.status();
  Beginning beginning;
  if (identity->has_value()) beginning.token = (*identity)->cluster_token;
  if (!identity->has_value() || !RocksLogStore::Exists(path)) {
    auto begin = BeginWith(options, identity->has_value() ? (*identity)->incarnation : 0, logger);
    if (!begin.ok()) return begin.status();
    beginning = *std::move(begin);
    if (identity->has_value() && (*identity)->history != beginning.history) {
      return absl::FailedPreconditionError(fmt::format(
          "{} was made before the cluster was recovered from the loss of a majority, and holds "
          "nothing: delete it, and start again",
          path));
    }
  }
  storage.told = beginning.told;
  const std::string& token =
      options.cluster_token.empty() ? beginning.token : options.cluster_token;
  auto directory = DataDirectory::Open(path, token, options.name, beginning.history);
  if (!directory.ok()) return directory.status();
  storage.directory = std::move(*directory);
  absl::Status status = OpenLog(options, beginning.membership, &storage);
  if (status.ok()) status = OpenState(options, &storage, logger);
  if (status.ok()) status = CheckComplete(options, storage, logger);
  if (!status.ok()) return status;
  auto snapshots = SnapshotStore::Open(options.storage, path, storage.state.get());
  if (!snapshots.ok()) return snapshots.status();
  storage.snapshots = *std::move(snapshots);
  const LogRecovery& recovery = storage.recovery;
  ForgetReturned(recovery, storage.directory.get());
  const LogPoint state = storage.state->Recovered();
  logger->Event(LogLevel::kInfo, "recovered",
                {{"term", std::to_string(recovery.hard_state.term.value())},
                 {"first_index", std::to_string(storage.log->FirstIndex().value())},
                 {"last_index", std::to_string(recovery.last.at.index.value())},
                 {"commit_index", std::to_string(recovery.hard_state.commit.value())},
                 {"applied_index", std::to_string(state.at.index.value())},
                 {"applied_revision", std::to_string(state.revision.value())}});
  return storage;
}

}  // namespace skein
