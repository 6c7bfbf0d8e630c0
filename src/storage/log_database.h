// The log of one node in RocksDB, without threads of its own: RocksLogStore calls it from two.
// Opens and recovers it (log_recovery.cc), writes groups of LogWrites durably, reads entries, drops
// trimmed ones.
//
// Invariants:
//  1. Entries are dense from base + 1 on, and each Follows the one before it.
//  2. The acknowledged mark is never ahead of what is durable.
//  3. An entry at or below the base may be gone; one above it is not.
//  4. For each entry above the base that changes the membership there is a record of it; for no
//     other.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "replication/log_store.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"
#include "storage/acknowledged_mark.h"
#include "storage/divergent_tail.h"
#include "storage/options.h"
#include "storage/trim_filter.h"

namespace skein {

// An iteration that does not fill the cache: what is read once is not read again.
std::unique_ptr<rocksdb::Iterator> NewLogIterator(rocksdb::DB* db);

class LogDatabase {
 public:
  // Creates the log if the data directory has none: with `initial` as its membership.
  static absl::StatusOr<std::unique_ptr<LogDatabase>> Open(const StorageOptions& options,
                                                           const std::string& data_directory,
                                                           const Membership& initial);

  // Before the calls below.
  absl::StatusOr<LogRecovery> Recover();

  // Writer thread. Durable when it returns. Only the first write may reset or truncate. `base`, if
  // not null, becomes the base of the log in the same write; it has no effect with a reset.
  absl::Status Write(const std::vector<LogWrite>& writes, const LogBase* base);

  // Writer thread. Lowers a mark above the end of the log to there. Durable when it returns.
  absl::Status ForgetLost();

  // Writer thread. Of the last durable entry, or of the base.
  Index last_index() const { return last_.at.index; }

  // Any thread. From `first`, at least one entry, then while they fit.
  absl::StatusOr<std::vector<EntryPtr>> Read(Index first, size_t bytes_max) const;

  // Any thread. The point of a retained entry, or of the base.
  absl::StatusOr<LogPoint> PointAt(Index index) const;

  // Any thread.
  LogBase base() const;

  // Any thread. Where the log would begin if it were trimmed up to `index`, which is retained.
  absl::StatusOr<LogBase> BaseAt(Index index) const;

  // Any thread. Removes table files that hold nothing but trimmed entries.
  absl::Status DropTrimmedFiles();

 private:
  LogDatabase(const StorageOptions& options, std::string data_directory, std::string directory)
      : data_directory_(std::move(data_directory)),
        directory_(std::move(directory)),
        divergent_(options, data_directory_) {}

  absl::Status OpenDatabase(const StorageOptions& options);
  absl::Status CreateOrCheck(const Membership& initial);
  absl::StatusOr<LogBase> ReadBase() const;
  absl::StatusOr<HardState> ReadHardState(bool has_entries) const;
  // The index of the last entry; 0: there is none.
  absl::StatusOr<Index> SeekLast() const;
  absl::StatusOr<EntryPtr> ReadEntry(Index index) const;
  absl::Status LoadTail(LogRecovery* recovery, Index last) const;
  absl::Status LoadMemberships(LogRecovery* recovery) const;
  absl::Status CheckMark(const LogRecovery& recovery) const;
  uint64_t ApproximateBytes(Index first, Index last) const;

  absl::Status Reset(const LogBase& base, size_t appended);
  absl::Status Truncate(Index from, size_t replaced);
  absl::Status Append(const LogWrite& write);
  absl::Status AppendMembership(const Entry& entry);
  // Drops the records of memberships for which `unwanted` holds of their index.
  void DropMemberships(const std::function<bool(Index)>& unwanted);
  absl::Status ExportDivergent(Index from);
  absl::Status RaiseMark();
  absl::Status Damaged(const std::string& what) const;

  const std::string data_directory_;
  const std::string directory_;
  const std::shared_ptr<TrimFilterFactory> trim_ = std::make_shared<TrimFilterFactory>();
  std::unique_ptr<rocksdb::DB> db_;

  // Owned by the writer thread.
  std::unique_ptr<AcknowledgedMark> mark_;
  DivergentTailWriter divergent_;
  rocksdb::WriteBatch batch_;
  LogPoint last_;  // of the log as it will be after `batch_`
  HardState hard_state_;

  mutable Mutex mu_;
  LogBase base_ ABSL_GUARDED_BY(mu_);
  // Above the base, in order, as they will be after `batch_`.
  std::vector<MembershipAt> memberships_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
