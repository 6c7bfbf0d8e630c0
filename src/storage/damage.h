// How damaged or failing storage is reported.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace rocksdb {
class Status;
}

namespace skein {

// kDataLoss with reason DAMAGED_DATA: `message` says what is damaged, the hint what to do.
absl::Status DamagedData(const std::string& message);

// `what` says what was tried on which file or directory. Corruption becomes DamagedData.
absl::Status FromRocksStatus(const rocksdb::Status& status, const std::string& what);

}  // namespace skein
