#include "server/stage_trace.h"

#include <algorithm>

namespace skein {

void StageTrace::OnAppended(const std::vector<EntryPtr>& entries) {
  const uint64_t now_us = clock_->MonotonicMicros();
  MutexLock lock(&mu_);
  for (const EntryPtr& entry : entries) {
    while (!entries_.empty() && entries_.back().index >= entry->index()) entries_.pop_back();
    StageTimes times;
    times.index = entry->index();
    times.first_revision = entry->first_revision();
    times.last_revision = entry->last_revision();
    times.bytes = entry->bytes();
    times.at_us[static_cast<size_t>(Stage::kAppended)] = now_us;
    entries_.push_back(times);
    if (entries_.size() > entries_max_) entries_.pop_front();
  }
}

void StageTrace::OnStage(Stage stage, Index index) {
  const uint64_t now_us = clock_->MonotonicMicros();
  MutexLock lock(&mu_);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    if (it->index > index) continue;
    uint64_t& at_us = it->at_us[static_cast<size_t>(stage)];
    if (at_us != 0) break;
    at_us = now_us;
  }
}

std::vector<StageTimes> StageTrace::After(Revision after) const {
  MutexLock lock(&mu_);
  // The loop waits for the lock meanwhile, so only what is asked for is touched.
  const auto first = std::partition_point(
      entries_.begin(), entries_.end(),
      [after](const StageTimes& times) { return times.last_revision <= after; });
  return {first, entries_.end()};
}

}  // namespace skein
