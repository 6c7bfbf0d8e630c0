// The durable log over RocksDB, in `<data>/log`, with the acknowledged mark beside it.
//
// Two threads. The writer takes everything that is queued, writes it as one batch, syncs once,
// raises the mark and posts one Persisted for the last write of the batch. The reader serves reads
// and trims, so that a slow read delays no sync. Writes complete in the order in which they were
// asked for, and so do reads.
//
// Invariants:
//  1. A read sees every write that was issued before it, and no truncation issued after it.
//  2. After a failure one StorageFailed is posted and then nothing more (R7).
//  3. The destructor joins both threads; writes that were not yet durable may be lost.
#pragma once

#include <memory>
#include <string>

#include "replication/log_store.h"
#include "storage/options.h"

namespace skein {

class RocksLogStore final : public LogStore {
 public:
  // Opens the log in the data directory, which must exist. A new log begins with `initial` as its
  // membership; an existing one has its own. kDataLoss if it cannot be trusted.
  static absl::StatusOr<std::unique_ptr<RocksLogStore>> Open(const StorageOptions& options,
                                                             const std::string& data_directory,
                                                             const Membership& initial);
  // Whether the data directory has one, made completely.
  static bool Exists(const std::string& data_directory);
  ~RocksLogStore() override;

  absl::StatusOr<LogRecovery> Recover() override;
  void Start(EventSink* sink) override;
  void Write(LogWrite write) override;
  void Read(LogRead read) override;
  void Trim(Index index) override;
  Index FirstIndex() const override;

  // Between Recover and Start. The point of a retained entry, or of the base.
  absl::StatusOr<LogPoint> PointAt(Index index) const;
  // Between Recover and Start. Performs the write, durably, and returns what the log holds then.
  absl::StatusOr<LogRecovery> WriteAtOnce(const LogWrite& write);
  // Between Recover and Start. The log ends where it does: what it has acknowledged beyond, and
  // lost, is owed no more. Durable when it returns.
  absl::StatusOr<LogRecovery> ForgetLost();

 private:
  class Worker;
  explicit RocksLogStore(std::unique_ptr<Worker> worker);

  const std::unique_ptr<Worker> worker_;
};

}  // namespace skein
