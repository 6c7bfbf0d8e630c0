// How far the other nodes are behind what the leader has committed.
#pragma once

#include <deque>

#include "common/types.h"

namespace skein {

struct Lag {
  uint64_t revisions = 0;
  uint64_t entries = 0;
  uint64_t bytes = 0;         // of these
  uint64_t milliseconds = 0;  // since the oldest entry that is not applied was committed
};

// Remembers recent commits. Bounded: for a node that is further behind, the bytes and milliseconds
// are those of the oldest commit remembered, thus at least so much. Use from one thread.
class LagTracker {
 public:
  explicit LagTracker(size_t commits_max = 1 << 16) : commits_max_(commits_max) {}

  // The entry at `point`, of so many bytes, was committed at this monotonic time.
  void OnCommitted(const LogPoint& point, uint64_t bytes, uint64_t now_us);
  // Of a node that has applied everything up to `applied`. All zero when it has everything.
  Lag Of(Index applied, uint64_t now_us) const;
  // The revision after applying everything up to `applied`, as far as remembered.
  Revision RevisionAt(Index applied) const;
  void Reset() { commits_.clear(); }

 private:
  struct Commit {
    Index index;
    Revision revision;     // after the entry
    uint64_t bytes_after;  // of all commits up to and including this one
    uint64_t bytes;
    uint64_t committed_us;
  };

  // The first remembered commit above `applied`.
  std::deque<Commit>::const_iterator After(Index applied) const;

  const size_t commits_max_;
  std::deque<Commit> commits_;
};

}  // namespace skein
