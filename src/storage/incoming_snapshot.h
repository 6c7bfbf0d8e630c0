// The snapshot that this node receives, in `<data>/incoming`: first its manifest, then its files
// one after the other, until it is whole, verified and durable, and the state machine installs it.
//
// Invariants:
//  1. It is complete only if every file is as the sender read it, durably, and RocksDB has opened
//  it.
//  2. A restart keeps what was received, but for the file that was under way.
//  3. When the disk has no room for it, nothing of it stays.
// Format: docs/disk_format.md.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "storage/options.h"
#include "storage/snapshot_file.h"
#include "storage/snapshot_manifest.h"
#include "storage/trash.h"

namespace rocksdb {
class WritableFile;
}

namespace skein {

// Thread-safe. While Finish reads, all other calls wait.
class IncomingSnapshot {
 public:
  // The part that is to be received next.
  struct Wanted {
    std::string file;
    uint64_t offset = 0;
    uint64_t bytes = 0;  // to the end of the file
  };

  // Keeps what is there, if it holds more than `applied`. `trash` outlives it.
  static absl::StatusOr<std::unique_ptr<IncomingSnapshot>> Open(const StorageOptions& options,
                                                                const std::string& data_directory,
                                                                Trash* trash, Index applied);
  ~IncomingSnapshot();

  // From now on this snapshot is received. What is there of the same one stays; of any other one it
  // goes. kResourceExhausted, and nothing stays, if there is no room for it.
  absl::Status Begin(const SnapshotManifest& manifest);

  // Of the snapshot that is being received, or complete; empty if there is none.
  std::string id() const;

  // Nothing if every file is there, or none is being received.
  std::optional<Wanted> Next() const;
  // Of the snapshot that is being received, or complete; 0 if there is none.
  uint64_t bytes_done() const;
  uint64_t bytes_total() const;

  // What Next has asked for, or the beginning of it. Declined without effect: kDataLoss if the
  // checksum does not match, so that it must be sent again; kFailedPrecondition if it is not what
  // is wanted. On any other failure nothing of the snapshot stays.
  absl::Status Write(std::string_view file, uint64_t offset, std::string_view bytes,
                     uint64_t checksum);

  // When nothing is wanted any more: verifies every file and makes the whole durable; it is
  // complete then. Reads all files through. kDataLoss: files were damaged on this disk, and are
  // wanted again; or nothing stays, if RocksDB cannot open what was sent. No effect if it is
  // complete already.
  absl::StatusOr<LogBase> Finish(const SnapshotPace& pace);

  // Removes whatever is there.
  absl::Status Discard();

  // What a complete snapshot stands for.
  std::optional<LogBase> complete() const;

  // Gives the state of the complete snapshot for `base` to be a directory of its own, which does
  // not exist yet, in one step: a crash leaves it here or there, whole. kFailedPrecondition, and no
  // effect, if that is not what is here.
  absl::Status MoveTo(const std::string& directory, const LogBase& base);

 private:
  IncomingSnapshot(const StorageOptions& options, const std::string& data_directory, Trash* trash);

  absl::Status Load(Index applied) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status FindFiles() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CreateEmptyFiles() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Append(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status VerifyFiles(const SnapshotPace& pace) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Seal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Clear() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // After a failure: nothing stays. Returns what has failed.
  absl::Status GiveUp(const absl::Status& failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string PathOf(const SnapshotFile& file) const { return state_ + "/" + file.name; }
  const SnapshotFile* WantedFile() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const StorageOptions options_;
  rocksdb::Env* const env_;
  const std::string data_directory_;
  const std::string directory_;  // `incoming`
  const std::string state_;      // the state database in it
  Trash* const trash_;

  mutable Mutex mu_;
  std::optional<SnapshotManifest> manifest_ ABSL_GUARDED_BY(mu_);
  bool complete_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<bool> is_there_ ABSL_GUARDED_BY(mu_);  // by file of the manifest
  // The first file that is not there yet, if some of it was received since this object was made.
  std::unique_ptr<rocksdb::WritableFile> open_ ABSL_GUARDED_BY(mu_);
  uint64_t open_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace skein
