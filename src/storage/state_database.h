// The state of one node in RocksDB, without threads of its own: one thread writes groups of
// entries, any number read. An install brings another one; see CurrentDatabase.
//
// Invariants:
//  1. Data and applied position change in the same RocksDB write (R5).
//  2. `durable_index` follows table files only: what a crash leaves is exactly that prefix.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "replication/command.h"
#include "replication/core/event.h"
#include "rocksdb/db.h"
#include "rocksdb/listener.h"
#include "rocksdb/write_batch.h"
#include "storage/kv_state_machine.h"
#include "storage/state_head.h"
#include "storage/trash.h"

namespace skein {

// Tells which applied index a finished flush has made durable. Thread-safe.
class FlushListener final : public rocksdb::EventListener {
 public:
  // The apply that ended with this sequence number reached `index`.
  void Record(rocksdb::SequenceNumber sequence, Index index);
  // Called on RocksDB's threads from now on.
  void SetCallback(std::function<void(Index)> callback);

  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo& info) override;

 private:
  Mutex mu_;
  std::deque<std::pair<rocksdb::SequenceNumber, Index>> applied_ ABSL_GUARDED_BY(mu_);
  std::function<void(Index)> callback_ ABSL_GUARDED_BY(mu_);
};

class KvStateMachine::Database {
 public:
  static absl::StatusOr<std::unique_ptr<Database>> Open(const StorageOptions& options,
                                                        const std::string& directory);
  // Removes the directory if it was told to.
  ~Database();

  // What it held when it was opened.
  const StateHead& recovered() const { return recovered_; }

  // Before the first Apply. See KvStateMachine.
  absl::Status AdoptMembership(const Membership& membership);

  // One thread only. kDataLoss, and no effect, if the entries do not continue the state or hold a
  // malformed batch.
  absl::StatusOr<Applied> Apply(const std::vector<EntryPtr>& entries);

  // Any thread. As of the last entry that was applied.
  Membership membership() const;

  // Any thread. A sound copy of everything that is applied, made of hard links, in a new directory.
  absl::Status Checkpoint(const std::string& directory) const;

  // The directory goes when the last reader is gone.
  void DiscardWhenClosed(std::shared_ptr<Trash> trash) { trash_ = std::move(trash); }

  void SetDurableCallback(std::function<void(Index)> callback);
  // Before any reader comes.
  void SetDamageListener(std::function<void(const absl::Status&)> listener) {
    damage_listener_ = std::move(listener);
  }

  absl::StatusOr<std::optional<VersionedValue>> Get(std::string_view key) const;
  absl::StatusOr<std::vector<std::optional<VersionedValue>>> MultiGet(
      const std::vector<std::string_view>& keys) const;
  absl::StatusOr<uint64_t> Scan(const ScanSpec& spec,
                                const std::function<bool(const KeyValueView&)>& visit) const;
  absl::StatusOr<uint64_t> Digest() const;
  absl::Status Flush();

 private:
  // A command of the group that is being applied; views into its entries.
  struct GroupCommand {
    CommandView view;
    Revision revision;
  };

  explicit Database(std::string directory) : directory_(std::move(directory)) {}

  absl::Status Decode(const Entry& entry, StateHead* head);
  absl::Status FindOutcomes(std::vector<CommandOutcome>* outcomes);
  absl::Status BuildBatch();
  absl::StatusOr<bool> Exists(std::string_view key) const;
  absl::StatusOr<VersionedValue> DecodeValue(std::string_view stored) const;
  absl::Status ReadFailure(const rocksdb::Status& status) const;
  absl::Status Damaged(const std::string& what) const;
  std::string RebuildHint() const;
  // Tells the listener of the first damage; returns the status.
  absl::Status Noticed(absl::Status status) const;

  const std::string directory_;
  const std::shared_ptr<FlushListener> flushes_ = std::make_shared<FlushListener>();
  std::unique_ptr<rocksdb::DB> db_;
  StateHead recovered_;
  std::function<void(const absl::Status&)> damage_listener_;
  mutable std::atomic<bool> damage_noticed_{false};
  std::shared_ptr<Trash> trash_;  // null: the directory stays

  // Owned by the applying thread.
  StateHead head_;
  rocksdb::WriteBatch batch_;
  std::vector<GroupCommand> commands_;
  std::string key_, value_;  // scratch

  mutable Mutex mu_;
  Membership membership_ ABSL_GUARDED_BY(mu_);  // that of head_, for other threads
};

// The database in use: an install puts another one in its place. Thread-safe.
//
// Invariants:
//  1. A database that was got stays open and whole until the last pointer to it is gone.
//  2. The applied position never goes back, and a database that is got afterwards has it.
class KvStateMachine::CurrentDatabase {
 public:
  explicit CurrentDatabase(std::shared_ptr<Database> database);

  std::shared_ptr<Database> Get() const;
  // Returns the one before.
  std::shared_ptr<Database> Exchange(std::shared_ptr<Database> database);
  // Of this database, and of those that come.
  void SetDamageListener(std::function<void(const absl::Status&)> listener);

  // Set by the applying thread, when reads see it.
  void SetApplied(Index index, Revision revision);
  Index applied_index() const { return Index(applied_index_.load(std::memory_order_acquire)); }
  Revision applied_revision() const {
    return Revision(applied_revision_.load(std::memory_order_acquire));
  }

 private:
  mutable Mutex mu_;
  std::shared_ptr<Database> database_ ABSL_GUARDED_BY(mu_);
  std::function<void(const absl::Status&)> damage_listener_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint64_t> applied_index_{0};
  std::atomic<uint64_t> applied_revision_{0};
};

}  // namespace skein
