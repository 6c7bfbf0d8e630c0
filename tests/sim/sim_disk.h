// What a simulated node keeps over a crash, and the log store and state machine that work on it.
//
// A LogStore or StateMachine object is one process's; the DiskImage outlives it. What is under way
// when the object is destroyed has no effect; see SimLogStore::Crash for a crash amid writes.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "replication/log_store.h"
#include "replication/state_machine.h"
#include "tests/sim/sim_context.h"

namespace skein::sim {

struct StoredValue {
  std::string value;
  Revision version;
};

// The state of a node: a function of the entries that were applied.
struct SimState {
  std::map<std::string, StoredValue> data;
  LogPoint applied;
  Membership membership;          // as of `applied`
  std::optional<LogBase> origin;  // the snapshot that it began with
  uint64_t digest = 0;            // of `data`

  // The next entry. Tells what became of its deletes. False, and no effect, if it does not follow
  // or its batch is malformed.
  bool Apply(const Entry& entry, std::vector<CommandOutcome>* outcomes);
};

struct DiskImage {
  LogBase base;
  HardState hard_state;
  std::deque<EntryPtr> log;          // (base, last]
  Index acknowledged;                // the mark
  SimState state;                    // as of the last flush
  std::optional<SimState> incoming;  // a snapshot that was fetched whole
  // One of which a part was fetched, and from whom.
  std::optional<std::pair<NodeId, SimState>> partial;
  uint64_t incarnation = 1;          // another one after a wipe
  uint64_t history = 0;              // of the cluster; another one after the loss of a majority
  std::map<NodeId, uint64_t> peers;  // the incarnations in which others were seen first
  // Term and chain of whatever was durable here, by index from 1, even if damage has taken it
  // since.
  std::vector<std::pair<Term, uint64_t>> witnessed;

  LogPoint last() const { return log.empty() ? base.point : log.back()->point(); }
  // Null: not there.
  EntryPtr Find(Index index) const;
  // Drops `first` and what follows.
  void Truncate(Index first);
  // The newest membership in the log.
  MembershipAt membership() const;
};

// What is wrong with a disk at the moment; set by whoever injects faults.
struct DiskFaults {
  uint64_t stalled_until_us = 0;  // writes
  uint64_t reads_stalled_until_us = 0;
  bool fail_next_write = false;
  bool full = false;  // every write fails
};

// The log of the node is empty now, and goes on after `base`. What damage has taken stays
// witnessed.
void ResetLog(const SimContext& context, size_t node, DiskImage* image, const LogBase& base);

class SimLogStore final : public LogStore {
 public:
  SimLogStore(const SimContext& context, size_t node, DiskImage* image, const DiskFaults* faults,
              Random random);
  ~SimLogStore() override { *alive_ = false; }

  absl::StatusOr<LogRecovery> Recover() override;
  void Start(EventSink* sink) override;
  void Write(LogWrite write) override;
  void Read(LogRead read) override;
  void Trim(Index index) override;
  Index FirstIndex() const override;

  // Before Start.
  void WriteAtOnce(const LogWrite& write);
  // The process ends. Of the writes under way any number may have reached the disk, in order, each
  // as a whole.
  void Crash();

 private:
  void BeginRead();
  void FinishRead();
  void BeginSync();
  void FinishSync(size_t writes);
  void WriteToImage(const LogWrite& write);
  void Fail(const std::string& what);

  const SimContext context_;
  const size_t node_;
  DiskImage* const image_;
  const DiskFaults* const faults_;
  Random random_;
  EventSink* sink_ = nullptr;
  std::deque<LogWrite> waiting_;  // not durable; the front ones are being synced
  bool syncing_ = false;
  bool failed_ = false;
  Index trim_to_;
  std::deque<LogReadDone> reads_;  // under way
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class SimStateMachine final : public StateMachine {
 public:
  SimStateMachine(const SimContext& context, size_t node, DiskImage* image, Random random);
  ~SimStateMachine() override { *alive_ = false; }

  LogPoint Recovered() const override { return state_.applied; }
  void Start(EventSink* sink) override;
  void Apply(std::vector<EntryPtr> entries) override;
  void Install(const LogBase& base) override;

  const SimState& state() const { return state_; }
  // What is applied now would survive a crash from some moments later on.
  void Flush();

 private:
  void ApplySome();
  void FinishInstall();

  const SimContext context_;
  const size_t node_;
  DiskImage* const image_;
  Random random_;
  EventSink* sink_ = nullptr;
  SimState state_;
  std::deque<EntryPtr> waiting_;
  std::optional<LogBase> installing_;
  bool applying_ = false;
  bool failed_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace skein::sim
