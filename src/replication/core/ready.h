// What the core obliges its performer to do. The order of the fields is the order of performance.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "replication/core/event.h"

namespace skein {

enum class Role : uint8_t { kFollower = 0, kPreCandidate = 1, kCandidate = 2, kLeader = 3 };

const char* RoleName(Role role);

// A change of role, term or known leader.
struct RoleChange {
  Role role = Role::kFollower;
  Term term;
  NodeId leader;       // 0: unknown
  std::string reason;  // `election timeout, last heard from n1 812 ms ago`

  friend bool operator==(const RoleChange&, const RoleChange&) = default;
};

// The answer to Core::ReadIndex. Granted: the reader may be served once everything up to `index`
// is applied. Otherwise leadership could not be confirmed, ask again.
struct ReadGrant {
  uint64_t id = 0;
  bool granted = false;
  Index index;
};

struct Ready {
  // The log is broken or diverges from the cluster's: stop the node, perform nothing else (R7, R8).
  absl::Status fatal;

  // Make durable, then Step(Persisted{persist->id}). Several may be under way at a time.
  std::optional<LogWrite> persist;

  // May leave at once, while `persist` is being written: what does not depend on it.
  std::vector<Message> send_now;

  // Only once the write `send_after_id`, which is `persist` or an earlier one, is durable (R1).
  std::vector<Message> send_after;
  uint64_t send_after_id = 0;

  // Committed and locally durable, in order (R5). Then Step(Applied).
  std::vector<EntryPtr> apply;

  // The fetched snapshot takes the place of the state, then Step(Installed). Nothing is applied
  // meanwhile.
  std::optional<LogBase> install;

  // Entries that are not in memory; then Step(LogReadDone).
  std::vector<LogRead> log_reads;

  // In place of any earlier one; then Step(SnapshotFetched).
  std::optional<SnapshotFetch> fetch;

  // Readers that may go on, or must ask again.
  std::vector<ReadGrant> reads;

  // Complete or fail the callers that depended on the former role.
  std::optional<RoleChange> role;

  // The members are others now, or at other addresses, or it is certain now that they are.
  std::optional<MembershipsInForce> membership;

  // The handover that was asked for has ended: another node may lead, or why this one still does.
  std::optional<absl::Status> transfer_over;

  // The log is no longer needed up to here, by this node or any other.
  std::optional<Index> trim;

  // For the operator: a refused vote, a truncation, a follower that needs what is not there.
  std::vector<std::string> notices;

  bool empty() const {
    return fatal.ok() && !persist && send_now.empty() && send_after.empty() && apply.empty() &&
           !install && log_reads.empty() && !fetch && reads.empty() && !role && !membership &&
           !transfer_over && !trim && notices.empty();
  }
};

}  // namespace skein
