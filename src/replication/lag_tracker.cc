#include "replication/lag_tracker.h"

#include <algorithm>

namespace skein {

void LagTracker::OnCommitted(const LogPoint& point, uint64_t bytes, uint64_t now_us) {
  const uint64_t before = commits_.empty() ? 0 : commits_.back().bytes_after;
  commits_.push_back({point.at.index, point.revision, before + bytes, bytes, now_us});
  if (commits_.size() > commits_max_) commits_.pop_front();
}

std::deque<LagTracker::Commit>::const_iterator LagTracker::After(Index applied) const {
  return std::upper_bound(commits_.begin(), commits_.end(), applied,
                          [](Index index, const Commit& commit) { return index < commit.index; });
}

Lag LagTracker::Of(Index applied, uint64_t now_us) const {
  const auto first = After(applied);
  if (first == commits_.end()) return {};
  Lag lag;
  lag.revisions = commits_.back().revision - RevisionAt(applied);
  lag.entries = static_cast<uint64_t>(commits_.end() - first);
  lag.bytes = commits_.back().bytes_after - (first->bytes_after - first->bytes);
  lag.milliseconds = now_us > first->committed_us ? (now_us - first->committed_us) / 1000 : 0;
  return lag;
}

Revision LagTracker::RevisionAt(Index applied) const {
  const auto first = After(applied);
  if (first == commits_.begin()) return first == commits_.end() ? Revision() : first->revision;
  return std::prev(first)->revision;
}

}  // namespace skein
