// What must hold in every run: after every event, and of the histories that clients saw.
//
// Invariants of the cluster that it checks, each over the whole run and all restarts:
//  1. One leader in a term. Terms and votes on a disk never go back.
//  2. Entries of the same term and index are the same, with all before them (by chain hash).
//  3. One committed history; every node's commit and applied positions are a prefix of it; an
//     entry is committed only when a quorum of voters has it durable, and no truncation leaves less
//     than that. (A voter that was not counted may still follow a leader that is deposed.)
//  4. applied <= commit <= last, applied <= durable (R5).
//  5. What a message states of its sender's disk is there (R1, R2).
//  6. Equal applied index, equal state.
//     Entries are relayed by who was asked to in that term, committed ones only (R36).
//  7. Every queue of the core and the replica keeps its limit (R19); a leader has one change of the
//     membership under way, and who was added votes only from a data directory that is recorded
//     (R22, R26).
//  8. Each write takes effect at most once; an acknowledged one at its revision, a refused one
//     never.
//     Of a change that an operator was told of a membership was committed after it was asked for.
//     After the loss of a majority (R35) all this holds of what the survivor has, and of who is in
//     its history; the others only must not disturb.
//  9. Bounded reads are as fresh as they say, a client's own reads never go back, linearizable
//     operations are linearizable.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "replication/replica.h"
#include "tests/sim/sim_context.h"
#include "tests/sim/sim_disk.h"
#include "tests/support/linearizability.h"

namespace skein::sim {

class Checker {
 public:
  // Once, before anything happens. `disks`: of each node, for the whole run.
  void Connect(const SimContext& context, const Membership& initial,
               std::vector<const DiskImage*> disks);

  // Empty, or what was violated first.
  const std::string& violation() const { return violation_; }
  void Violate(const std::string& what);

  void OnHardState(size_t node, const HardState& before, const HardState& after);
  void OnTruncate(size_t node, Index first);
  void OnSend(size_t node, const Message& message);
  void OnAppended(size_t node, const Replica& replica, const std::vector<EntryPtr>& entries);
  void OnApplied(size_t node, const LogPoint& applied, uint64_t digest);
  // The process of the node is about to end, or has just begun.
  void OnRestart(size_t node);
  // The node has performed.
  void AfterPerform(size_t node, const Replica& replica);

  // A majority was lost, and what this node has is the cluster's history from now on. No client has
  // a call under way; what they saw so far is judged by what was true before.
  void BeginHistory(size_t survivor);
  // Rises with each.
  uint64_t history() const { return history_; }
  // The node is in the latest one.
  bool Counts(size_t node) const { return disks_[node]->history == history_; }

  // What a client did and was told. Times are those of the simulation.
  void OnOperation(const std::string& key, HistoryOp op) {
    histories_[key].push_back(std::move(op));
  }
  // A write that only the leader has acknowledged: it may be lost with it.
  void OnLeaderLevel(const std::string& value) { leader_level_.push_back(value); }
  // Certainly without effect. `value` is empty for a delete.
  void OnRefused(const std::string& who, const std::string& value);
  // A node has told a client that this revision is committed.
  void OnAcknowledged(Revision revision);
  // A node that has applied `applied` serves a read that may be `bound_us` old by its clock.
  void OnBoundedRead(size_t node, Revision applied, uint64_t bound_us);

  Index committed() const { return Index(committed_.size()); }
  // Of the newest committed entry that changed it.
  const MembershipAt& membership() const { return membership_; }
  // All that were committed, in their order, after the one that the cluster began with.
  const std::vector<Membership>& memberships() const { return memberships_; }
  // Term and chain of the committed entries up to `index`.
  std::vector<std::pair<Term, uint64_t>> CommittedUpTo(Index index) const;
  // At the end: linearizability of each key, and the fate of each write.
  void CheckHistories();

 private:
  struct CommittedEntry {
    Term term;
    uint64_t chain = 0;
    std::shared_ptr<const Membership> voters;  // whose quorum has committed it
    uint64_t digest = 0;  // of the state after it, once some node has applied it
    bool digest_known = false;
  };
  struct Effect {
    std::string key;
    std::string value;  // empty: a delete
  };

  // All that follows is forgotten.
  void CutCommitted(size_t kept, Revision revision);
  void CheckCommit(size_t node, const Core& core);
  void Commit(size_t node, const Membership& membership, const Entry& entry);
  void CommitMembership(const Entry& entry);
  void CheckChanges(size_t node, const Core& core);
  const Membership& VotersOf(const Entry& entry, const MembershipsInForce& memberships,
                             Index durable) const;
  size_t CopiesOf(const Entry& entry, const Membership& voters, size_t left_out) const;
  size_t CopiesOf(const std::pair<Term, uint64_t>& content, size_t index, const Membership& voters,
                  size_t left_out) const;
  void CheckLimits(size_t node, const Replica& replica);
  void CheckClaim(size_t node, Index match, const char* what);
  void CheckRelay(size_t node, const Message& message, const AppendMessage& append);

  SimContext context_{};
  MembershipAt membership_;
  std::vector<Membership> memberships_;
  std::vector<const DiskImage*> disks_;
  std::string violation_;
  uint64_t history_ = 0;

  std::map<Term, NodeId> leaders_;
  std::set<std::tuple<Term, NodeId, NodeId>> feeds_;  // who was asked to feed whom
  std::map<std::pair<Term, Index>, uint64_t> chains_;
  std::vector<CommittedEntry> committed_;  // by index from 1
  std::vector<Index> commit_checked_;      // by node

  std::map<std::string, std::vector<HistoryOp>> histories_;
  std::map<Revision, Effect> effects_;
  std::map<std::string, Revision> revision_of_value_;
  std::map<std::string, std::string> refused_;               // value -> who
  std::vector<std::string> leader_level_;                    // values
  std::vector<std::pair<uint64_t, Revision>> acknowledged_;  // when, and up to where
};

}  // namespace skein::sim
