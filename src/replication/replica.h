// One node's replica: the only code that performs a Ready. Feeds events to the Core, carries out
// what it asks for through LogStore, StateMachine and Transport, and answers callers.
//
// Use from one thread, the same for every call; the event loop's in production, the simulator's in
// tests. Nothing here blocks. After any number of Step, Propose and Read calls, call Perform.
//
// Invariants:
//  1. A Ready's fields are performed in their order; what waits for a write leaves after it (R1).
//  2. Proposals that arrive while entries are on their way become one entry: batching needs no
//  timer.
//  3. After a fatal error nothing is performed any more (R7).
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "common/clock.h"
#include "replication/core/core.h"
#include "replication/lag_tracker.h"
#include "replication/log_store.h"
#include "replication/observer.h"
#include "replication/pending_ops.h"
#include "replication/snapshot_fetcher.h"
#include "replication/state_machine.h"
#include "replication/transport.h"

namespace skein {

struct ReplicaOptions {
  CoreOptions core;
  // Payload of one entry, in bytes; a single larger proposal still becomes an entry.
  uint64_t entry_bytes_max = 1 << 20;
  // Proposals that wait to become an entry, in bytes; beyond it they are refused (R19).
  uint64_t queue_bytes_max = 32 << 20;
  // Entries that a leader has committed since it leads and not yet applied itself; beyond it
  // proposals wait, but not for long (R19). Less than what LagTracker remembers.
  uint64_t unapplied_bytes_max = 64 << 20;
  uint64_t unapplied_entries_max = 1 << 15;
  uint64_t unapplied_wait_us = 2'000'000;
  // Messages that wait for a term or a vote to be durable; beyond it the oldest is dropped (R19).
  // Must hold a candidate's questions to all voters.
  size_t send_after_max = 4096;
  // While so many entries are on their way to being committed, what arrives waits and becomes one
  // entry together; each entry costs every node messages and a sync, whatever its size.
  uint64_t entries_in_flight_max = 2;
  // So many waiting bytes are worth an entry of their own at any time: a far quorum must not cost
  // throughput.
  uint64_t eager_bytes = 64 << 10;
};

enum class ReadOutcome {
  kGranted,       // and everything the reader must see is applied
  kNotConfirmed,  // nobody's leadership was confirmed, or not in time
  kBehind,        // it was, but what the reader must see was not applied here in time
  kQueueFull,     // too many reads wait (R19)
};
using ReadCallback = absl::AnyInvocable<void(ReadOutcome)>;

// The outcome of a change or a handover: OK; not done (kUnavailable: try again, perhaps elsewhere;
// other codes say why it may not be); kUnknown: it may or may not be done.
using OperatorCallback = absl::AnyInvocable<void(absl::Status)>;

class Replica {
 public:
  // All references outlive the replica. `recovery` is what `log_store` recovered.
  Replica(const ReplicaOptions& options, NodeId self, LogRecovery recovery, LogStore* log_store,
          StateMachine* state_machine, Transport* transport, SnapshotFetcher* snapshot_fetcher,
          Observer* observer, const Clock* clock, Random random);

  void Step(const Event& event);
  // Answered by proposal.done, perhaps before this returns.
  void Propose(Proposal proposal);
  // A linearizable read (R14, R15), to be granted before `deadline_us`; `done` is called once,
  // perhaps before this returns.
  void Read(uint64_t deadline_us, ReadCallback done);
  // Changes the membership (R22 to R25). `done` is called once it is committed, or was refused,
  // perhaps before this returns; from `deadline_us` on with kUnknown.
  void Change(const MembershipChange& change, uint64_t deadline_us, OperatorCallback done);
  // Hands leadership over, to the most advanced voter if `target` is 0 (R28). Proposals wait
  // meanwhile.
  void Transfer(NodeId target, OperatorCallback done);
  // Performs everything that is due.
  void Perform();
  // The node stops: answers every caller, refuses all that come later, performs nothing any more.
  void Stop();

  const Core& core() const { return core_; }
  const absl::Status& fatal() const { return fatal_; }
  // Somebody who proposed, reads or changes the membership waits for an answer.
  bool HasCallers() const {
    return !pending_.empty() || !queue_.empty() || !readers_.empty() || !readers_granted_.empty();
  }
  Revision applied_revision() const { return applied_revision_; }
  // How much waits where there is a limit (R19).
  uint64_t queue_bytes() const { return queue_bytes_; }
  size_t messages_waiting() const { return send_after_.size(); }
  size_t reads_waiting() const { return readers_.size() + readers_granted_.size(); }
  // Leader only.
  Lag LagOf(NodeId node) const;
  Revision AppliedRevisionOf(NodeId follower) const;

 private:
  struct Reader {
    uint64_t deadline_us = 0;
    ReadCallback done;
  };

  void FailAll();
  void OnApplied(Index index, Revision revision);
  void EndTransfer(const absl::Status& how);
  void ProposeBatch();
  bool IsBehind() const;
  bool MustWait() const;
  Outcome RefusalOf(ProposeStatus status) const;
  void PerformReady(Ready ready);
  void SendAfter(uint64_t persisted_id);
  void AnswerReads(const std::vector<ReadGrant>& grants);
  void ReportStages();
  void ExpireCallers();

  // Constant after construction.
  const ReplicaOptions options_;
  LogStore* const log_store_;
  StateMachine* const state_machine_;
  Transport* const transport_;
  SnapshotFetcher* const snapshot_fetcher_;
  Observer* const observer_;
  const Clock* const clock_;

  Core core_;
  PendingOps pending_;
  LagTracker lag_;
  std::deque<Proposal> queue_;
  uint64_t queue_bytes_ = 0;
  std::deque<std::pair<uint64_t, Message>> send_after_;  // with the write that each waits for
  uint64_t persisted_write_ = 0;

  uint64_t next_reader_ = 1;
  std::map<uint64_t, Reader> readers_;            // wait for a grant
  std::multimap<Index, Reader> readers_granted_;  // wait for their index to be applied

  OperatorCallback transfer_done_;

  Revision applied_revision_;
  Index reported_durable_;
  Index reported_commit_;
  absl::Status fatal_;
};

}  // namespace skein
