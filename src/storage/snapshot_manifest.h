// What a snapshot consists of: a copy of `state/` as RocksDB files, and what they stand for. The
// sender writes it, the receiver checks everything against it. Format: docs/disk_format.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "replication/core/log_base.h"

namespace skein {

struct SnapshotFile {
  std::string name;  // plain, without a path
  uint64_t bytes = 0;

  friend bool operator==(const SnapshotFile&, const SnapshotFile&) = default;
};

struct SnapshotManifest {
  std::string id;  // another one for each snapshot that is ever made
  LogBase base;
  uint64_t cluster_time_ms = 0;     // as of `base`
  std::vector<SnapshotFile> files;  // sorted by name

  uint64_t TotalBytes() const;

  friend bool operator==(const SnapshotManifest&, const SnapshotManifest&) = default;
};

// The same bytes on disk and on the wire.
std::string EncodeSnapshotManifest(const SnapshotManifest& manifest);

// kDataLoss if it is damaged, of another format, or names what no snapshot holds, such as a file
// outside of its directory.
absl::StatusOr<SnapshotManifest> DecodeSnapshotManifest(std::string_view bytes);

}  // namespace skein
