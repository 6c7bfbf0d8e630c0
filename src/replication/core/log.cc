#include "replication/core/log.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/planted_bug.h"

namespace skein {
namespace {

constexpr uint64_t kEarlierSteps = 256;

}  // namespace

Log::Log(LogPoint tail_base, std::vector<EntryPtr> tail, Index commit,
         const EarlierEntries& earlier, uint64_t step_bytes)
    : step_bytes_(step_bytes), base_(tail_base), bytes_(earlier.bytes) {
  // As if all of them were of one size.
  const uint64_t entries = base_.at.index - std::min(earlier.after, base_.at.index);
  const uint64_t steps = std::clamp<uint64_t>(entries, 1, kEarlierSteps);
  for (uint64_t i = 1; i <= steps; ++i) {
    places_.emplace_back(Index(base_.at.index.value() - (entries - entries * i / steps)),
                         earlier.bytes * i / steps);
  }
  for (EntryPtr& entry : tail) {
    SKEIN_CHECK(entry->Follows(last()));
    Count(*entry);
    tail_bytes_ += entry->bytes();
    tail_.push_back(std::move(entry));
  }
  durable_ = last_index();
  unwritten_from_ = last_index().Next();
  uncommitted_bytes_ = tail_bytes_;
  commit_ = base_.at.index;
  CommitTo(std::min(std::max(commit, commit_), last_index()));
}

std::optional<LogPoint> Log::PointAt(Index index) const {
  if (index < base_.at.index || index > last_index()) return std::nullopt;
  return index == base_.at.index ? base_ : At(index)->point();
}

const EntryPtr& Log::At(Index index) const {
  SKEIN_CHECK(index > base_.at.index && index <= last_index());
  return tail_[index - base_.at.index - 1];
}

std::vector<EntryPtr> Log::Slice(Index first, Index last, uint64_t bytes_max) const {
  std::vector<EntryPtr> entries;
  uint64_t bytes = 0;
  for (Index i = first; i <= std::min(last, last_index()); i = i.Next()) {
    const EntryPtr& entry = At(i);
    bytes += entry->bytes();
    if (!entries.empty() && bytes > bytes_max) break;
    entries.push_back(entry);
  }
  return entries;
}

void Log::Count(const Entry& entry) {
  bytes_ += entry.bytes();
  if (places_.empty() || bytes_ - places_.back().second >= step_bytes_) {
    places_.emplace_back(entry.index(), bytes_);
  }
}

Index Log::FirstWithin(uint64_t bytes_max) const {
  if (bytes_ <= bytes_max) return Index();
  const auto place = std::find_if(places_.begin(), places_.end(), [&](const auto& candidate) {
    return bytes_ - candidate.second <= bytes_max;
  });
  return place == places_.end() ? last_index().Next() : place->first.Next();
}

// The places of what was there at the start may be closer to each other than a step.
bool Log::HasStepUpTo(Index index) const {
  if (places_.size() < 3 || places_[2].first > index) return false;
  const auto beyond = [](Index at, const auto& place) { return at < place.first; };
  const auto last = std::prev(std::upper_bound(places_.begin(), places_.end(), index, beyond));
  return last->second - places_[1].second >= step_bytes_;
}

void Log::Forget(Index index) {
  while (places_.size() > 1 && places_[1].first <= index) places_.pop_front();
}

void Log::Append(EntryPtr entry) {
  SKEIN_CHECK(entry->Follows(last()));
  Count(*entry);
  tail_bytes_ += entry->bytes();
  uncommitted_bytes_ += entry->bytes();
  undurable_bytes_ += entry->bytes();
  tail_.push_back(std::move(entry));
}

void Log::TruncateFrom(Index first) {
  SKEIN_CHECK(first > commit_);
  if (first > last_index()) return;
  while (!places_.empty() && places_.back().first >= first) places_.pop_back();
  while (last_index() >= first) {
    bytes_ -= tail_.back()->bytes();
    tail_bytes_ -= tail_.back()->bytes();
    uncommitted_bytes_ -= tail_.back()->bytes();
    if (last_index() > durable_) undurable_bytes_ -= tail_.back()->bytes();
    tail_.pop_back();
  }
  // What was given to the store must be taken back there; the rest never reached it.
  if (unwritten_from_ > first) {
    truncate_from_ = truncate_from_ ? std::min(*truncate_from_, first) : first;
    unwritten_from_ = first;
  }
  durable_ = std::min(durable_, first.Previous());
  if (SKEIN_PLANTED("stale-completion-counts")) return;
  for (WriteInFlight& write : writes_) write.last = std::min(write.last, first.Previous());
}

void Log::Reset(const LogBase& base) {
  SKEIN_CHECK(base.point.at.index > commit_);
  reset_ = base;
  base_ = base.point;
  tail_.clear();
  tail_bytes_ = 0;
  uncommitted_bytes_ = 0;
  undurable_bytes_ = 0;
  commit_ = base_.at.index;
  durable_ = base_.at.index;
  unwritten_from_ = base_.at.index.Next();
  truncate_from_.reset();
  places_ = {{base_.at.index, 0}};
  bytes_ = 0;
  for (WriteInFlight& write : writes_) write.last = Index();
}

void Log::CommitTo(Index index) {
  SKEIN_CHECK(index <= last_index());
  while (commit_ < index) {
    commit_ = commit_.Next();
    uncommitted_bytes_ -= At(commit_)->bytes();
  }
}

void Log::Evict(uint64_t bytes_max) {
  while (tail_bytes_ > bytes_max && !tail_.empty()) {
    const Index first = tail_.front()->index();
    if (first > commit_ || first > durable_ || first >= unwritten_from_) return;
    base_ = tail_.front()->point();
    tail_bytes_ -= tail_.front()->bytes();
    tail_.pop_front();
  }
}

LogWrite Log::TakeUnwritten(uint64_t id, uint64_t now_ticks) {
  LogWrite write;
  write.id = id;
  write.reset = std::exchange(reset_, std::nullopt);
  write.truncate_from = truncate_from_;
  for (Index i = unwritten_from_; i <= last_index(); i = i.Next()) write.entries.push_back(At(i));
  truncate_from_.reset();
  unwritten_from_ = last_index().Next();
  writes_.push_back({id, last_index(), now_ticks});
  return write;
}

void Log::OnPersisted(uint64_t id) {
  while (!writes_.empty() && writes_.front().id <= id) {
    for (; durable_ < writes_.front().last; durable_ = durable_.Next()) {
      undurable_bytes_ -= At(durable_.Next())->bytes();
    }
    writes_.pop_front();
  }
}

std::optional<uint64_t> Log::OldestWriteTicks() const {
  if (writes_.empty()) return std::nullopt;
  return writes_.front().issued_ticks;
}

}  // namespace skein
