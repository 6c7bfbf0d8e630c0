// The snapshot that this node receives, in `<data>/incoming`: first its manifest, then its files
// one after the other, until it is whole, and the state machine installs it. Each file settles
// while the next is received: it is synced, read again and checked, and only then gets its name.
//
// Invariants:
//  1. What has the name of a table file is durable, and was sound by the checksums that RocksDB put
//  into it when it wrote the data.
//  2. It is complete only if every file is there and RocksDB has opened it.
//  3. A restart keeps the table files that have settled.
//  4. When the disk has no room for it, nothing of it stays.
// Format: docs/disk_format.md.
#pragma once

#include <future>
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
#include "storage/snapshot_manifest.h"
#include "storage/trash.h"

namespace rocksdb {
class Status;
class WritableFile;
}  // namespace rocksdb

namespace skein {

// Thread-safe. While Write or Finish wait for a file to settle, all other calls wait.
class IncomingSnapshot {
 public:
  // The part that is to be received next.
  struct Wanted {
    std::string file;
    uint64_t offset = 0;
    uint64_t bytes = 0;  // to the end of the file
    // It had come, and was not sound: if this disk has not damaged it, its source has it like that.
    bool suspect = false;
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

  // Nothing if every file is there or settles, or none is being received.
  std::optional<Wanted> Next() const;
  // Of the snapshot that is being received, or complete; 0 if there is none.
  uint64_t bytes_done() const;
  uint64_t bytes_total() const;

  // What Next has asked for, or the beginning of it. kFailedPrecondition, without effect, if it is
  // not what is wanted. kDataLoss: the checksum does not match, or a file that had come before was
  // not sound; Next says what is wanted again. On any other failure nothing of the snapshot stays.
  absl::Status Write(std::string_view file, uint64_t offset, std::string_view bytes,
                     uint64_t checksum);

  // When nothing is wanted any more: makes the whole durable; it is complete then. kDataLoss: the
  // last file was not sound, and is wanted again; or nothing stays, if RocksDB cannot open what was
  // sent. No effect if it is complete already.
  absl::StatusOr<LogBase> Finish();

  // Removes whatever is there.
  absl::Status Discard();

  // What a complete snapshot stands for.
  std::optional<LogBase> complete() const;

  // Gives the state of the complete snapshot for `base` to be a directory of its own, which does
  // not exist yet, in one step: a crash leaves it here or there, whole. kFailedPrecondition, and no
  // effect, if that is not what is here.
  absl::Status MoveTo(const std::string& directory, const LogBase& base);

 private:
  // A file whose last part has come.
  struct Settling {
    const SnapshotFile* file = nullptr;  // of manifest_
    std::future<absl::Status> done;      // its destructor waits
  };

  IncomingSnapshot(const StorageOptions& options, const std::string& data_directory, Trash* trash);

  absl::Status Load(Index applied) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status FindTableFiles() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CreateEmptyFiles() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OpenWanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Append(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of the open file the last `part_bytes`.
  rocksdb::Status Store(uint64_t part_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Settle(const std::string& name, std::unique_ptr<rocksdb::WritableFile> file) const;
  absl::Status AwaitSettled() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropOpen() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Seal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Clear() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // After a failure: nothing stays. Returns what has failed.
  absl::Status GiveUp(const absl::Status& failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string PathOf(const std::string& name) const { return state_ + "/" + name; }
  bool IsReceived(const SnapshotFile& file) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
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
  std::optional<Settling> settling_ ABSL_GUARDED_BY(mu_);
  // The first file that was not received yet, if some of it was since this object was made.
  std::unique_ptr<rocksdb::WritableFile> open_ ABSL_GUARDED_BY(mu_);
  uint64_t open_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t unsynced_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of these
  uint64_t open_room_ ABSL_GUARDED_BY(mu_) = 0;       // what the disk has given it already
  std::string suspect_ ABSL_GUARDED_BY(mu_);  // the file that was last found not to be sound
};

}  // namespace skein
