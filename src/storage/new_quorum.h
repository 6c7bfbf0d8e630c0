// How a cluster goes on that has lost a majority of its voters for ever: one survivor, whose
// process is stopped, becomes its only voter (R35). What the lost ones had and this one has not is
// lost.
//
// Crash-safe: until ForceNewQuorum returns OK, the directory is as before, or no node starts on it
// and another call finishes what was begun.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "replication/core/recovery.h"
#include "storage/data_directory.h"
#include "storage/kv_state_machine.h"
#include "storage/options.h"
#include "storage/rocks_log_store.h"

namespace skein {

// What a stopped node knows, durably.
struct Survivor {
  Identity identity;
  Membership membership;  // the newest in its log, committed or not
  LogPoint last;          // of its log
  Term term;
  Index committed;  // at least up to here
  Index applied;
  // Above `last`: the log was damaged, and has lost its end.
  Index acknowledged;
  uint64_t uncommitted_commands = 0;  // in the log, and not known to be committed

  // What was lost since it was acknowledged.
  bool HasLostEntries() const { return acknowledged > last.at.index; }
  // It votes, and nobody else does.
  bool LeadsAlone() const {
    return membership.IsVoter(identity.node_id) && membership.VoterCount() == 1;
  }
};

// One thread. Holds the directory's lock as long as it lives.
class NewQuorum {
 public:
  // Refuses what is in use, is no data directory, is of a newer format, or damaged beyond its end.
  static absl::StatusOr<std::unique_ptr<NewQuorum>> Open(const StorageOptions& options,
                                                         const std::string& data_directory);

  const Survivor& survivor() const { return survivor_; }

  // kFailedPrecondition, in words for an operator: this node leads alone already, belongs to the
  // cluster no more, or has received nothing of it yet; or its log has lost entries that it has
  // acknowledged, unless `accept_lost`.
  absl::Status Check(bool accept_lost) const;

  // The cluster begins a new history, with this node as its only member: a voter. All that is in
  // its log will be committed. Checks first. Everything is durable when it returns OK.
  absl::Status Force(bool accept_lost, uint64_t wall_ms);

 private:
  explicit NewQuorum(std::unique_ptr<DataDirectory> directory) : directory_(std::move(directory)) {}

  absl::Status OpenStores(const StorageOptions& options);
  Membership NewestMembership() const;
  void Describe();
  // The log ends at what is applied, or later, and owes nothing.
  absl::Status SettleLost();
  bool HasAppended() const;
  absl::Status AppendMembership(uint64_t wall_ms);

  const std::unique_ptr<DataDirectory> directory_;
  std::unique_ptr<RocksLogStore> log_;
  std::unique_ptr<KvStateMachine> state_;
  LogRecovery recovery_;
  Survivor survivor_;
};

}  // namespace skein
