// What a state database says of itself beside its data: how far it is, and where it came from.
// Format: docs/disk_format.md.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "replication/core/log_base.h"

namespace rocksdb {
class DB;
}

namespace skein {

struct StateHead {
  LogPoint applied;  // all zero in a new state
  uint64_t cluster_time_ms = 0;
  // As of `applied`. Empty: as the log began, no entry has changed it.
  Membership membership;
  // The snapshot with which this state began, if it was installed.
  std::optional<LogBase> installed;
};

// The value of kMetaKey: all but `installed`, whose record is SealLogBase under kInstalledKey.
std::string EncodeStateMeta(const StateHead& head);

// kDataLoss, with the hint, if it is damaged or missing while there is data. `what` names the state
// in errors.
absl::StatusOr<StateHead> ReadStateHead(rocksdb::DB* db, const std::string& what,
                                        const std::string& hint);

}  // namespace skein
