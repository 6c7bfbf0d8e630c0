// How damaged or failing storage is reported.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace rocksdb {
class Status;
}

namespace skein {

// What to do about damage that only a new copy of the whole node mends.
inline constexpr char kReplaceNodeHint[] =
    "The other nodes hold the data: remove this node from the cluster, move its data directory "
    "away, and add it again.";

// kDataLoss with reason DAMAGED_DATA: `message` says what is damaged, the hint what to do.
absl::Status DamagedData(const std::string& message, const std::string& hint = kReplaceNodeHint);

// `what` says what was tried on which file or directory. Corruption and missing files become
// DamagedData.
absl::Status FromRocksStatus(const rocksdb::Status& status, const std::string& what,
                             const std::string& hint = kReplaceNodeHint);

}  // namespace skein
