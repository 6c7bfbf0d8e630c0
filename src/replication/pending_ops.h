// The book of callers that wait for entries of the log (R6). A caller hears *ok* when its level is
// reached, *rejected* when another term's entry was committed in its entry's place, and *unknown*
// when its time is over.
//
// Entries of an earlier leadership may still wait beside those of a later one, at the same indexes.
//
// Invariant: every proposal that was added is answered exactly once.
#pragma once

#include <deque>
#include <vector>

#include "replication/core/event.h"
#include "replication/proposal.h"

namespace skein {

class PendingOps {
 public:
  // These proposals, in this order, make up `entry`, which was just appended by this leader.
  void Add(const Entry& entry, std::vector<Proposal> proposals);

  // The leader of `term` has everything up to `index` durable in its own log.
  void OnDurable(Term term, Index index);
  // The leader of `term` has committed everything up to `index`.
  void OnCommitted(Term term, Index index);
  // This entry is committed, whoever leads: settles whose entry has the place.
  void OnCommittedEntry(Position at);
  // Everything up to `applied.index` is applied here.
  void OnApplied(const Applied& applied);
  // A snapshot stands for everything up to `index`: what is not known of it yet never will be.
  void OnInstalled(Index index);
  // Everything up to `index` is applied on every voter.
  void OnAllApplied(Index index);
  // Answers those whose time is over.
  void Expire(uint64_t now_us);
  // The node stops: answers everybody.
  void FailAll();

  bool empty() const { return entries_.empty(); }

 private:
  struct Waiting {
    Proposal proposal;
    Revision first_revision;
    std::vector<Revision> deleted;
  };
  struct PendingEntry {
    Position at;
    bool durable = false;
    bool committed = false;
    bool applied = false;
    bool applied_by_all = false;
    std::vector<Waiting> waiting;
  };

  static bool IsReached(const PendingEntry& entry, const Waiting& waiting, AckLevel* reached);
  static void Answer(Waiting* waiting, Outcome outcome, AckLevel reached);
  // Answers whoever has reached its level, and forgets entries that nobody waits for.
  void Settle();

  std::deque<PendingEntry> entries_;
};

}  // namespace skein
