// The applied data over RocksDB, in `<data>/state`, without a write-ahead log of its own: the
// replicated log replays what a crash takes.
//
// One apply thread: it takes the entries that are queued, writes them with their position as one
// batch (R5), tells the listener, posts Applied. An install puts another database in the place of
// this one. Reads run on the caller's thread; one that is under way during an install finishes on
// the database that it began with.
//
// Invariants:
//  1. A reader sees each entry as a whole, and entries in order.
//  2. applied_revision() never goes back, and never shows a revision that a read begun afterwards
//     would miss.
//  3. After a failure one StorageFailed is posted and nothing is applied any more.
//  4. An install that fails leaves the old state in use.
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
#include "storage/incoming_snapshot.h"
#include "storage/options.h"
#include "storage/trash.h"

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

  // Before Start. Called on the apply thread when a group of entries, or an installed snapshot, has
  // become visible, before Applied or Installed is posted. Must not block.
  void SetAppliedListener(std::function<void(Index, Revision)> listener);

  // Before anybody reads. Called on the thread of the reader that meets the first damage, once;
  // once more after an install. Must not block.
  void SetDamageListener(std::function<void(const absl::Status&)> listener);

  // Before Start. The membership that was in force when the log began, or at the recovered
  // position: a state that has not met an entry that changes it does not know it. No effect on one
  // that does.
  absl::Status AdoptMembership(const Membership& membership);

  LogPoint Recovered() const override;
  // The snapshot with which the recovered state began, if it was installed.
  std::optional<LogBase> RecoveredInstall() const;
  void Start(EventSink* sink) override;
  void Apply(std::vector<EntryPtr> entries) override;
  // What incoming() holds, if it is complete and goes beyond what is applied.
  void Install(const LogBase& base) override;

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
  // As of the last entry that was applied; empty until it is known, see AdoptMembership.
  Membership membership() const;

  // A hash over all user data in key order and the applied revision, as of one moment.
  absl::StatusOr<uint64_t> Digest() const;

  // Writes what is only in memory to table files, so that the next start replays nothing.
  absl::Status Flush();

  // A database with everything that is applied, in a new directory, made of hard links.
  absl::Status Checkpoint(const std::string& directory) const;

  // Where a snapshot for Install is received.
  IncomingSnapshot* incoming() const { return incoming_.get(); }
  // Where the directories of this node go that nobody needs any more.
  const std::shared_ptr<Trash>& trash() const { return trash_; }

 private:
  class Database;
  class CurrentDatabase;
  class Worker;
  KvStateMachine(const StorageOptions& options, const std::string& data_directory,
                 std::shared_ptr<Trash> trash, std::unique_ptr<IncomingSnapshot> incoming,
                 std::shared_ptr<Database> database);

  const std::shared_ptr<Trash> trash_;
  const std::unique_ptr<IncomingSnapshot> incoming_;
  const std::unique_ptr<CurrentDatabase> database_;
  const LogPoint recovered_;
  const std::optional<LogBase> recovered_install_;
  const std::unique_ptr<Worker> worker_;  // uses all of the above
};

}  // namespace skein
