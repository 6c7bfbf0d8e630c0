#include "storage/damage.h"

#include "common/error.h"
#include "rocksdb/status.h"

namespace skein {

absl::Status DamagedData(const std::string& message) {
  return MakeError(
      absl::StatusCode::kDataLoss, message,
      {.reason = ErrorReason::kDamagedData,
       .hint = "The other nodes hold the data: remove this node from the cluster, move "
               "its data directory away, and add it again."});
}

absl::Status FromRocksStatus(const rocksdb::Status& status, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = what + ": " + status.ToString();
  if (status.IsCorruption()) return DamagedData(message);
  if (status.IsNoSpace()) return absl::Status(absl::StatusCode::kResourceExhausted, message);
  if (status.IsShutdownInProgress()) return absl::Status(absl::StatusCode::kUnavailable, message);
  return absl::Status(absl::StatusCode::kInternal, message);
}

}  // namespace skein
