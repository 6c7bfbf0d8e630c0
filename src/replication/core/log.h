// The part of the log that is in memory, and where the log stands: everything above the commit
// index, and some of what is below it.
//
// Invariants:
//  1. base.index <= commit <= last, durable <= last; every entry in (base, last] is in memory.
//  2. Entries are dense and chained (Entry::Follows).
//  3. `durable` counts only what a completed write covered and no later truncation took back (R2).
#pragma once

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "replication/core/event.h"

namespace skein {

// The entries before those in memory, as far as they are retained.
struct EarlierEntries {
  Index after;
  uint64_t bytes = 0;  // of all, about
};

class Log {
 public:
  // `tail` follows `tail_base`; all of it is durable. `commit` is capped to what exists.
  // `step_bytes` is how exact FirstWithin is.
  Log(LogPoint tail_base, std::vector<EntryPtr> tail, Index commit,
      const EarlierEntries& earlier = {}, uint64_t step_bytes = 0);

  const LogPoint& base() const { return base_; }
  LogPoint last() const { return tail_.empty() ? base_ : tail_.back()->point(); }
  Index last_index() const { return Index(base_.at.index.value() + tail_.size()); }
  Index commit() const { return commit_; }
  Index durable() const { return durable_; }
  // Of the entries in memory: all, those above the commit index, those that are not durable.
  uint64_t memory_bytes() const { return tail_bytes_; }
  uint64_t uncommitted_bytes() const { return uncommitted_bytes_; }
  uint64_t undurable_bytes() const { return undurable_bytes_; }

  // The point at `index`, if it is in [base, last].
  std::optional<LogPoint> PointAt(Index index) const;
  // True if entries from `first` on are in memory, with the point before them.
  bool InMemory(Index first) const { return first > base_.at.index; }
  // The entry at an index in memory.
  const EntryPtr& At(Index index) const;
  // Entries from `first`, which is in memory, to `last`: at least one, then while they fit.
  std::vector<EntryPtr> Slice(Index first, Index last, uint64_t bytes_max) const;

  // From here on the entries are at most `bytes_max`, about; 0 if all are.
  Index FirstWithin(uint64_t bytes_max) const;

  void Append(EntryPtr entry);
  // At least `step_bytes` of entries up to `index` count for FirstWithin, and need not.
  bool HasStepUpTo(Index index) const;
  // Nothing up to `index` counts any more for FirstWithin.
  void Forget(Index index);
  // The log is empty and goes on after `base`, which is committed, and durable elsewhere.
  void Reset(const LogBase& base);
  // Drops `first` and all later entries, which must be above the commit index.
  void TruncateFrom(Index first);
  // Raises the commit index. No effect if it is not higher.
  void CommitTo(Index index);
  // Drops committed, durable entries from memory, oldest first, until at most `bytes_max` are left.
  void Evict(uint64_t bytes_max);

  // The next write, if any entry, reset or truncation is not yet part of one; `hard_state` is not
  // set. The caller gives it out under `id` at once.
  LogWrite TakeUnwritten(uint64_t id, uint64_t now_ticks);
  bool HasUnwritten() const {
    return reset_.has_value() || truncate_from_.has_value() || unwritten_from_ <= last_index();
  }
  // The write `id`, and all before it, are durable. A repeated or unknown id has no effect.
  void OnPersisted(uint64_t id);
  size_t WritesInFlight() const { return writes_.size(); }
  // When the oldest write that is still under way was given out.
  std::optional<uint64_t> OldestWriteTicks() const;

 private:
  struct WriteInFlight {
    uint64_t id;
    Index last;  // of its entries that are still in the log; falls with a truncation
    uint64_t issued_ticks;
  };

  void Count(const Entry& entry);

  const uint64_t step_bytes_;
  LogPoint base_;
  std::deque<EntryPtr> tail_;
  uint64_t tail_bytes_ = 0;
  uint64_t uncommitted_bytes_ = 0;
  uint64_t undurable_bytes_ = 0;
  Index commit_;
  Index durable_;
  Index unwritten_from_;
  std::optional<LogBase> reset_;
  std::optional<Index> truncate_from_;
  // Of the whole log, also of what is no longer in memory: places, some way apart, and the bytes of
  // all entries up to them.
  std::deque<std::pair<Index, uint64_t>> places_;
  uint64_t bytes_ = 0;
  std::deque<WriteInFlight> writes_;
};

}  // namespace skein
