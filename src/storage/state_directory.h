// Where a node's state lies: `<data>/state`, and after an install `<data>/state.N`, until the next
// start gives it its name back. So no directory is renamed while a database is open in it, and an
// install is one step: the directory with the highest number counts.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "storage/options.h"
#include "storage/trash.h"

namespace skein {

// At the start: completes an install that a crash has cut short, and discards what no longer
// counts. Returns the directory of the state, which may not exist yet.
absl::StatusOr<std::string> SettleStateDirectory(rocksdb::Env* env,
                                                 const std::string& data_directory, Trash* trash);

// A new one, above all others.
absl::StatusOr<std::string> NextStateDirectory(rocksdb::Env* env,
                                               const std::string& data_directory);

}  // namespace skein
