// What sender and receiver of a snapshot do with its files. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "storage/options.h"

namespace skein {

// Called while files are read through, with how many bytes were read since the last call; may wait,
// so that others get their share of disk and processor. False: give up.
using SnapshotPace = std::function<bool(uint64_t bytes)>;

// So many bytes from `offset` on, fewer at the end of the file.
absl::StatusOr<std::string> ReadPart(rocksdb::Env* env, const std::string& path, uint64_t offset,
                                     size_t bytes_max);

// Over the whole file. kCancelled if `pace` has given up.
absl::StatusOr<uint64_t> ChecksumOfFile(rocksdb::Env* env, const std::string& path,
                                        const SnapshotPace& pace);

}  // namespace skein
