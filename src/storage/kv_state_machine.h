// The applied data over RocksDB, in `<data>/state`, without a write-ahead log of its own: the
// replicated log replays what a crash takes.
//
// One apply thread: it takes the entries that are queued, writes them with their position as one
// batch (R5), tells the listener, posts Applied. Reads run on the caller's thread.
//
// Invariants:
//  1. A reader sees each entry as a whole, and entries in order.
//  2. applied_revision() never shows a revision that a read begun afterwards would miss.
//  3. After a failure one StorageFailed is posted and nothing is applied any more.
// Format: docs/disk_format.md.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "replication/state_machine.h"
#include "storage/options.h"

namespace skein {

struct VersionedValue {
  std::string value;
  Revision version;  // of the put that wrote it
};

struct KeyValueView {
  std::string_view key;
  std::string_view value;  // empty if only keys were asked for
  Revision version;
};

struct ScanSpec {
  std::string start;   // inclusive; empty: from the first key
  std::string end;     // exclusive; empty: to the last key
  std::string prefix;  // if not empty, instead of start and end
  uint64_t limit = 0;  // pairs at most; 0: no limit
  bool reverse = false;
  bool keys_only = false;
};

class KvStateMachine final : public StateMachine {
 public:
  // Opens or creates the state in the data directory, which must exist.
  static absl::StatusOr<std::unique_ptr<KvStateMachine>> Open(const StorageOptions& options,
                                                              const std::string& data_directory);
  // Joins the apply thread; what is queued and not yet applied is dropped.
  ~KvStateMachine() override;

  // Before Start. Called on the apply thread when a group of entries has become visible, before
  // Applied is posted. Must not block.
  void SetAppliedListener(std::function<void(Index, Revision)> listener);

  // Before anybody reads. Called once, on the thread of the reader that meets the first damage.
  // Must not block.
  void SetDamageListener(std::function<void(const absl::Status&)> listener);

  LogPoint Recovered() const override;
  void Start(EventSink* sink) override;
  void Apply(std::vector<EntryPtr> entries) override;

  // Thread-safe from here on, at any time. Damage is kDataLoss with reason DAMAGED_DATA.

  absl::StatusOr<std::optional<VersionedValue>> Get(std::string_view key) const;

  // One answer per key, all as of one moment.
  absl::StatusOr<std::vector<std::optional<VersionedValue>>> MultiGet(
      const std::vector<std::string_view>& keys) const;

  // Shows the pairs of the range in key order (or reverse), all as of one moment, until `visit`
  // returns false. Returns how many were shown.
  absl::StatusOr<uint64_t> Scan(const ScanSpec& spec,
                                const std::function<bool(const KeyValueView&)>& visit) const;

  Index applied_index() const;
  Revision applied_revision() const;

  // A hash over all user data in key order and the applied revision, as of one moment.
  absl::StatusOr<uint64_t> Digest() const;

  // Writes what is only in memory to table files, so that the next start replays nothing.
  absl::Status Flush();

 private:
  class Database;
  class Worker;
  KvStateMachine(std::unique_ptr<Database> database, std::unique_ptr<Worker> worker);

  const std::unique_ptr<Database> database_;
  const std::unique_ptr<Worker> worker_;  // uses the database
};

}  // namespace skein
