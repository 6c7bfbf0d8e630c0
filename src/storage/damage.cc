#include "storage/damage.h"

#include "absl/strings/str_replace.h"
#include "common/error.h"
#include "rocksdb/status.h"

namespace skein {

absl::Status DamagedData(const std::string& message, const std::string& hint) {
  return MakeError(absl::StatusCode::kDataLoss, message,
                   {.reason = ErrorReason::kDamagedData, .hint = hint});
}

absl::Status FromRocksStatus(const rocksdb::Status& status, const std::string& what,
                             const std::string& hint) {
  if (status.ok()) return absl::OkStatus();
  // Of a missing table file RocksDB names the one that it tried last, with the ending of long ago.
  const std::string message =
      absl::StrReplaceAll(what + ": " + status.ToString(), {{".ldb:", ".sst:"}});
  if (status.IsCorruption() || status.IsPathNotFound()) return DamagedData(message, hint);
  if (status.IsNoSpace()) return absl::Status(absl::StatusCode::kResourceExhausted, message);
  if (status.IsShutdownInProgress()) return absl::Status(absl::StatusCode::kUnavailable, message);
  return absl::Status(absl::StatusCode::kInternal, message);
}

}  // namespace skein
