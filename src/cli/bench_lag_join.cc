#include "cli/bench_lag_join.h"

#include <algorithm>

namespace skein::cli {
namespace {

bool HasCommands(const EntryStages& entry) { return entry.last_revision >= entry.first_revision; }

bool IsComplete(const EntryStages& entry) {
  return entry.durable_us != 0 && entry.committed_us != 0 && entry.applied_us != 0;
}

std::optional<uint64_t> LagOf(uint64_t from_us, uint64_t to_us) {
  if (to_us == 0) return std::nullopt;
  return to_us > from_us ? to_us - from_us : 0;
}

}  // namespace

void TraceBook::Add(const std::vector<EntryStages>& entries) {
  if (entries.empty()) return;
  const uint64_t known =
      entries_.empty() ? after_revision_ : entries_.rbegin()->second.last_revision;
  if (entries.front().first_revision > known + 1) ++gaps_;
  for (const EntryStages& entry : entries) {
    entries_[entry.index] = entry;
    if (HasCommands(entry)) index_of_[entry.first_revision] = entry.index;
  }
  entries_.erase(std::next(entries_.find(entries.back().index)), entries_.end());
  // From the newest answer alone: what it does not repeat was complete before.
  for (const EntryStages& entry : entries) {
    if (!IsComplete(entry)) break;
    after_revision_ = std::max(after_revision_, entry.last_revision);
  }
}

const EntryStages* TraceBook::FindRevision(uint64_t revision) const {
  auto it = index_of_.upper_bound(revision);
  if (it == index_of_.begin()) return nullptr;
  const auto found = entries_.find(std::prev(it)->second);
  if (found == entries_.end()) return nullptr;
  const EntryStages& entry = found->second;
  return entry.first_revision <= revision && revision <= entry.last_revision ? &entry : nullptr;
}

JoinResult JoinTraces(const TraceBook& leader, const TraceBook& follower, uint64_t begin_us,
                      uint64_t end_us, const std::function<void(const EntryLag&)>& visit) {
  JoinResult result;
  for (const auto& [index, entry] : leader.entries()) {
    if (!HasCommands(entry) || entry.appended_us < begin_us || entry.appended_us >= end_us) {
      continue;
    }
    const auto found = follower.entries().find(index);
    const bool same = found != follower.entries().end() &&
                      found->second.first_revision == entry.first_revision &&
                      found->second.last_revision == entry.last_revision;
    if (!same || found->second.applied_us == 0) {
      ++result.missing;
      continue;
    }
    ++result.joined;
    EntryLag lag;
    lag.appended_us = entry.appended_us;
    lag.revisions = entry.last_revision - entry.first_revision + 1;
    lag.lag_us = {LagOf(entry.appended_us, found->second.appended_us),
                  LagOf(entry.appended_us, found->second.durable_us),
                  LagOf(entry.appended_us, found->second.applied_us)};
    visit(lag);
  }
  return result;
}

void VersionTimeline::Saw(uint64_t version, uint64_t at_us) {
  if (version > newest()) seen_.emplace_back(version, at_us);
}

std::optional<uint64_t> VersionTimeline::FirstAtLeast(uint64_t version) const {
  const auto it = std::lower_bound(
      seen_.begin(), seen_.end(), version,
      [](const std::pair<uint64_t, uint64_t>& seen, uint64_t v) { return seen.first < v; });
  if (it == seen_.end()) return std::nullopt;
  return it->second;
}

void LagSlices::Record(uint64_t at_us, uint64_t lag_us) {
  if (at_us >= begin_us_) lags_[(at_us - begin_us_) / slice_us_].push_back(lag_us);
}

std::vector<LagSlices::Slice> LagSlices::Summary() const {
  std::vector<Slice> slices;
  for (const auto& [number, unsorted] : lags_) {
    std::vector<uint64_t> lags = unsorted;
    std::sort(lags.begin(), lags.end());
    const auto at = [&lags](double share) {
      return lags[static_cast<size_t>(static_cast<double>(lags.size() - 1) * share)];
    };
    Slice slice;
    slice.seconds = (static_cast<double>(number) + 0.5) * static_cast<double>(slice_us_) / 1e6;
    slice.count = lags.size();
    slice.p50_us = at(0.5);
    slice.p99_us = at(0.99);
    slice.max_us = lags.back();
    slices.push_back(slice);
  }
  return slices;
}

}  // namespace skein::cli
