// Snapshots of this node's state, for nodes that are too far behind for the log: checkpoints of
// `state/`, made of hard links, in `<data>/snapshots`. Each lives as long as somebody uses it.
// Format: docs/disk_format.md.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "storage/kv_state_machine.h"
#include "storage/options.h"
#include "storage/snapshot_file.h"
#include "storage/snapshot_manifest.h"
#include "storage/trash.h"

namespace skein {

// Some bytes of a snapshot's file, with the checksum by which the receiver knows them.
struct SnapshotPart {
  std::string bytes;
  uint64_t checksum = 0;
};

// A finished snapshot. Thread-safe. Its files are removed with the last pointer to it; whoever
// wants a receiver to be able to come back holds one for a while.
class Snapshot {
 public:
  Snapshot(const StorageOptions& options, std::string directory, SnapshotManifest manifest,
           std::shared_ptr<Trash> trash);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  const SnapshotManifest& manifest() const { return manifest_; }

  // Of a file of the manifest, from `offset` on; fewer bytes at its end. kInvalidArgument if there
  // is nothing there.
  absl::StatusOr<SnapshotPart> Read(const std::string& file, uint64_t offset,
                                    size_t bytes_max) const;

  // When a receiver has found a file of the manifest to be damaged. kDataLoss: it is so here, too.
  // kInvalidArgument: it is none of the manifest.
  absl::Status Verify(const std::string& file) const;

 private:
  friend class SnapshotStore;

  std::string PathOf(const std::string& file) const { return directory_ + "/state/" + file; }

  const StorageOptions options_;
  const std::string directory_;
  const SnapshotManifest manifest_;
  const std::shared_ptr<Trash> trash_;
  const std::chrono::steady_clock::time_point made_ = std::chrono::steady_clock::now();
};

// Thread-safe.
class SnapshotStore {
 public:
  // Removes what an earlier run has left. `state` outlives it, and so do the Snapshots.
  static absl::StatusOr<std::unique_ptr<SnapshotStore>> Open(const StorageOptions& options,
                                                             const std::string& data_directory,
                                                             const KvStateMachine* state);

  // A snapshot that holds at least everything up to `at_least`: one that is in use, if it is young
  // enough, or a new one. Making one writes what of the state is in memory only to disk; whoever
  // comes meanwhile waits for it. Whether the files are sound is for the receiver to check.
  // kUnavailable: the state is not that far yet.
  absl::StatusOr<std::shared_ptr<const Snapshot>> Get(Index at_least);

  // One that is in use; null if there is none with this id.
  std::shared_ptr<const Snapshot> Find(const std::string& id) const;

 private:
  SnapshotStore(const StorageOptions& options, const std::string& data_directory,
                const KvStateMachine* state);

  // Under the lock: null if none will do.
  std::shared_ptr<const Snapshot> FindFor(Index at_least) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::shared_ptr<const Snapshot>> Make(Index at_least);
  absl::StatusOr<SnapshotManifest> Fill(const std::string& id, const std::string& directory) const;
  absl::StatusOr<SnapshotManifest> Describe(const std::string& id, const std::string& state) const;

  const StorageOptions options_;
  rocksdb::Env* const env_;
  const std::string directory_;
  const KvStateMachine* const state_;
  const std::shared_ptr<Trash> trash_;

  mutable Mutex mu_;
  CondVar made_;
  bool making_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, std::weak_ptr<const Snapshot>> snapshots_ ABSL_GUARDED_BY(mu_);  // by id
};

}  // namespace skein
