// What sender and receiver of a snapshot do with its files. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/options.h"

namespace skein {

// What is sent at once if nobody else needs the disks; less is sent beside writes.
inline constexpr uint64_t kSnapshotPartBytesMax = 1 << 20;

// The others are small, and RocksDB checks them when it opens them.
bool IsTableFile(std::string_view name);

// So many bytes from `offset` on, fewer at the end of the file.
absl::StatusOr<std::string> ReadPart(rocksdb::Env* env, const std::string& path, uint64_t offset,
                                     size_t bytes_max);

// Reads a table file through and compares the checksums that RocksDB has put into it when the data
// was written, wherever that was. kDataLoss if they differ.
absl::Status VerifyTableFile(const StorageOptions& options, const std::string& path);

}  // namespace skein
