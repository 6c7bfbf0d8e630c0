// The ends of logs that were cut off here because the cluster went on without them (R29): a former
// leader's, mostly. Nobody was told that their commands succeeded, but somebody may want them. Each
// is a file in `<data>/divergent`, whole or absent. Format: docs/disk_format.md.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "replication/core/entry.h"
#include "storage/env_file.h"
#include "storage/options.h"

namespace skein {

// Thread-safe: a reader of finished files.
class DivergentTail {
 public:
  struct File {
    std::string path;
    Index first;
    Index last;
    Term term;  // of the last entry
    uint64_t bytes = 0;
  };

  // What a data directory holds, in the order in which it was cut off. The node may be running.
  static absl::StatusOr<std::vector<File>> List(const std::string& data_directory);

  // kDataLoss unless every byte is as it was written.
  static absl::StatusOr<DivergentTail> Read(const std::string& path);

  // The entry before the first: up to here this log and the cluster's agreed, or may have.
  const LogPoint& after() const { return after_; }
  // Each Follows the one before it, the first one `after`.
  const std::vector<EntryPtr>& entries() const { return entries_; }

 private:
  LogPoint after_;
  std::vector<EntryPtr> entries_;
};

// Writes one. One thread at a time.
class DivergentTailWriter {
 public:
  // Entries from `first` on, at least one; called until it has returned the last.
  using ReadFrom = std::function<absl::StatusOr<std::vector<EntryPtr>>(Index first)>;

  DivergentTailWriter(const StorageOptions& options, const std::string& data_directory)
      : env_(EnvOf(options)),
        directory_(data_directory + "/divergent"),
        bytes_max_(options.divergent_bytes_max) {}

  // Durable when it returns. The entries follow `after` and end with `last`. The oldest files are
  // removed while all together are larger than the options allow; the new one stays.
  absl::Status Write(const LogPoint& after, const LogPoint& last, const ReadFrom& read);

 private:
  absl::Status WriteTemporary(const std::string& path, const LogPoint& after, const LogPoint& last,
                              const ReadFrom& read);
  absl::Status MakeRoom(const std::string& newest);

  rocksdb::Env* const env_;
  const std::string directory_;
  const uint64_t bytes_max_;
};

}  // namespace skein
