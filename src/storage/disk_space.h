// How much room there is for a node's data. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "storage/options.h"

namespace skein {

// What an unprivileged process could still write to the file system of `directory`, by the file
// system of the options if they name one.
absl::StatusOr<uint64_t> FreeBytes(const StorageOptions& options, const std::string& directory);

}  // namespace skein
