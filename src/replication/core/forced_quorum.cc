#include "replication/core/forced_quorum.h"

#include <algorithm>

#include "common/check.h"
#include "common/planted_bug.h"

namespace skein {
namespace {

// Never before what the log says already (R33).
uint64_t ClusterTime(const LogRecovery& recovery, uint64_t wall_ms) {
  return recovery.tail.empty() ? wall_ms
                               : std::max(wall_ms, recovery.tail.back()->cluster_time_ms());
}

}  // namespace

LogWrite ForceQuorum(const LogRecovery& recovery, const Membership& newest, NodeId self,
                     uint64_t incarnation, uint64_t wall_ms) {
  SKEIN_CHECK(newest.Find(self) != nullptr);
  Member only = *newest.Find(self);
  only.voter = true;
  only.promote_when_level = false;
  only.never_votes = false;
  only.upstream = NodeId();
  only.incarnation = incarnation;
  HardState hard_state = recovery.hard_state;
  const Term latest = std::max(hard_state.term, recovery.last.at.term);
  hard_state.term = SKEIN_PLANTED("history-keeps-terms")
                        ? latest.Next()
                        : Term((HistoryOf(latest) + 1) * kTermsOfHistory);
  hard_state.vote = self;
  const EntryPtr entry = Entry::Build(
      recovery.last, hard_state.term, EntryType::kMembership, 0, ClusterTime(recovery, wall_ms),
      EncodeMembership({.members = {only}, .required_version = newest.RequiredVersion()}));
  return {.hard_state = hard_state, .entries = {entry}};
}

}  // namespace skein
