// What a log holds when it is opened, and whether it can be trusted.
#include <algorithm>

#include "common/error.h"
#include "fmt/format.h"
#include "storage/damage.h"
#include "storage/log_database.h"
#include "storage/log_keys.h"
#include "storage/record.h"

namespace skein {
namespace {

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace

absl::StatusOr<LogBase> LogDatabase::ReadBase() const {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), kLogBaseKey, &value);
  if (status.IsNotFound()) return Damaged("has lost the record of where it begins");
  if (!status.ok()) return FromRocksStatus(status, "cannot read the base of " + directory_);
  const std::optional<LogBase> base = OpenLogBase(value);
  if (!base.has_value()) return Damaged("has a damaged record of where it begins");
  return *base;
}

absl::StatusOr<HardState> LogDatabase::ReadHardState(bool has_entries) const {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), kHardStateKey, &value);
  if (status.IsNotFound() && !has_entries) return HardState{};
  if (status.IsNotFound()) {
    return Damaged(
        "has entries but no hard state (term and vote): starting again at term 0 could "
        "elect two leaders");
  }
  if (!status.ok()) return FromRocksStatus(status, "cannot read the hard state of " + directory_);
  const std::optional<std::string_view> payload = OpenRecord(value);
  if (!payload.has_value()) {
    return Damaged(
        "has a damaged hard state (term and vote): starting without it could elect two "
        "leaders");
  }
  Decoder decoder(*payload);
  HardState state;
  state.term = Term(decoder.Fixed64());
  state.vote = NodeId(decoder.Fixed64());
  state.commit = Index(decoder.Fixed64());
  if (!decoder.ok() || !decoder.empty()) return Damaged("has a malformed hard state");
  return state;
}

absl::StatusOr<Index> LogDatabase::SeekLast() const {
  const std::unique_ptr<rocksdb::Iterator> it = NewLogIterator(db_.get());
  it->SeekForPrev(EntryKey(Index(~uint64_t{0})));
  if (!it->status().ok()) {
    return FromRocksStatus(it->status(), "cannot find the end of " + directory_);
  }
  if (!it->Valid() || !IsEntryKey(View(it->key()))) return Index(0);
  return IndexOfKey(View(it->key()));
}

absl::Status LogDatabase::LoadTail(LogRecovery* recovery, Index last) const {
  recovery->last = recovery->tail_base;
  while (recovery->last.at.index < last) {
    constexpr size_t kChunkBytes = 16 << 20;
    absl::StatusOr<std::vector<EntryPtr>> chunk = Read(recovery->last.at.index.Next(), kChunkBytes);
    if (!chunk.ok()) return chunk.status();
    if (!chunk->front()->Follows(recovery->last)) {
      return Damaged(fmt::format("is damaged at entry {}: it does not follow the one before it",
                                 chunk->front()->index().value()));
    }
    recovery->last = chunk->back()->point();
    std::move(chunk->begin(), chunk->end(), std::back_inserter(recovery->tail));
  }
  return absl::OkStatus();
}

// What the records say must be what the entries say.
absl::Status LogDatabase::LoadMemberships(LogRecovery* recovery) const {
  const Index base_index = recovery->base.point.at.index;
  const std::unique_ptr<rocksdb::Iterator> it = NewLogIterator(db_.get());
  for (it->Seek(MembershipKey(base_index.Next())); it->Valid() && IsMembershipKey(View(it->key()));
       it->Next()) {
    MembershipAt found{.index = IndexOfKey(View(it->key()))};
    const absl::StatusOr<EntryPtr> entry = ReadEntry(found.index);
    if (!entry.ok()) return entry.status();
    const std::optional<std::string_view> record = OpenRecord(View(it->value()));
    if ((*entry)->type() != EntryType::kMembership || record != (*entry)->payload() ||
        !DecodeMembership((*entry)->payload(), &found.membership)) {
      return Damaged(
          fmt::format("has a damaged record of the membership of entry {}", found.index.value()));
    }
    recovery->memberships.push_back(std::move(found));
  }
  if (!it->status().ok()) {
    return FromRocksStatus(it->status(), "cannot read the memberships of " + directory_);
  }
  for (const EntryPtr& entry : recovery->tail) {
    if (entry->type() != EntryType::kMembership) continue;
    const auto is_of_entry = [&entry](const MembershipAt& at) {
      return at.index == entry->index();
    };
    if (std::ranges::none_of(recovery->memberships, is_of_entry)) {
      return Damaged(
          fmt::format("has lost the record of the membership of entry {}", entry->index().value()));
    }
  }
  return absl::OkStatus();
}

uint64_t LogDatabase::ApproximateBytes(Index first, Index last) const {
  if (first > last) return 0;
  const std::string begin = EntryKey(first);
  const std::string end = EntryKey(last.Next());
  const rocksdb::Range range(begin, end);
  rocksdb::SizeApproximationOptions options;
  options.include_memtables = true;
  uint64_t bytes = 0;
  const rocksdb::Status status =
      db_->GetApproximateSizes(options, db_->DefaultColumnFamily(), &range, 1, &bytes);
  return status.ok() ? bytes : 0;
}

// The mark is lowered before a truncation, so the entry that it names is still there, if the log
// reaches that far. Up to the base only what is committed counts, and that is there in any case: a
// mark that a reset has overtaken may name an entry that was not.
absl::Status LogDatabase::CheckMark(const LogRecovery& recovery) const {
  const AcknowledgedMark::Value& mark = mark_->value();
  if (mark.at.index > recovery.last.at.index || mark.at.index <= recovery.base.point.at.index) {
    return absl::OkStatus();
  }
  const absl::StatusOr<LogPoint> point = PointAt(mark.at.index);
  if (!point.ok()) return point.status();
  if (point->at == mark.at && point->chain == mark.chain) return absl::OkStatus();
  // While the log was damaged, and the mark above its end, the leader of a later term replaced the
  // entry; then the node died before the mark had followed for good.
  if (point->at.term > mark.at.term) return absl::OkStatus();
  return Damaged(fmt::format("holds another entry {} than the one that this node has acknowledged",
                             mark.at.index.value()));
}

absl::StatusOr<LogRecovery> LogDatabase::Recover() {
  LogRecovery recovery;
  absl::StatusOr<LogBase> base = ReadBase();
  if (!base.ok()) return base.status();
  recovery.base = *base;
  {
    MutexLock lock(&mu_);
    base_ = *base;
  }
  const Index base_index = base->point.at.index;
  const absl::StatusOr<Index> found = SeekLast();
  if (!found.ok()) return found.status();
  const Index last = std::max(*found, base_index);
  absl::StatusOr<HardState> hard_state = ReadHardState(last > Index(0));
  if (!hard_state.ok()) return hard_state.status();
  // A cut write-ahead log may have lost a vote, too.
  const AcknowledgedMark::Value& mark = mark_->value();
  if (mark.term > hard_state->term) {
    hard_state->term = mark.term;
    hard_state->vote = mark.vote;
  } else if (mark.term == hard_state->term && hard_state->vote == NodeId(0)) {
    hard_state->vote = mark.vote;
  }
  recovery.hard_state = *hard_state;
  recovery.acknowledged = std::max(mark.at.index, base_index);

  const Index tail_base = std::clamp(hard_state->commit, base_index, last);
  if (last > base_index) {
    // The first retained entry must be there as well, though it may not be part of the tail.
    const absl::StatusOr<EntryPtr> first = ReadEntry(base_index.Next());
    if (!first.ok()) return first.status();
    if (!(*first)->Follows(base->point)) {
      return Damaged(fmt::format("is damaged at entry {}: it does not follow the log's base",
                                 base_index.Next().value()));
    }
  }
  const absl::StatusOr<LogPoint> tail_point = PointAt(tail_base);
  if (!tail_point.ok()) return tail_point.status();
  recovery.tail_base = *tail_point;
  absl::Status status = LoadTail(&recovery, last);
  if (status.ok()) status = LoadMemberships(&recovery);
  if (status.ok()) status = CheckMark(recovery);
  if (!status.ok()) return status;
  recovery.earlier_bytes = ApproximateBytes(base_index.Next(), tail_base);

  trim_->SetFirst(base_index.Next());
  last_ = recovery.last;
  hard_state_ = recovery.hard_state;
  MutexLock lock(&mu_);
  memberships_ = recovery.memberships;
  return recovery;
}

}  // namespace skein
