#include "storage/log_database.h"

#include <algorithm>

#include "common/check.h"
#include "common/error.h"
#include "fmt/format.h"
#include "rocksdb/convenience.h"
#include "storage/damage.h"
#include "storage/file_util.h"
#include "storage/log_keys.h"
#include "storage/record.h"

namespace skein {
namespace {

// Of one read: the entry before the wanted ones, for its term and chain, and one more.
constexpr size_t kReadEntriesMin = 2;

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

std::string EncodeBase(const LogBase& base) {
  std::string payload;
  PutLogPoint(&payload, base.point);
  payload += EncodeMembership(base.membership);
  return SealRecord(payload);
}

std::string EncodeHardState(const HardState& state) {
  std::string payload;
  PutFixed64(&payload, state.term.value());
  PutFixed64(&payload, state.vote.value());
  PutFixed64(&payload, state.commit.value());
  return SealRecord(payload);
}

// An iteration over the log that must not fill the cache: what is read once is not read again.
std::unique_ptr<rocksdb::Iterator> NewLogIterator(rocksdb::DB* db) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return std::unique_ptr<rocksdb::Iterator>(db->NewIterator(options));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogDatabase>> LogDatabase::Open(const StorageOptions& options,
                                                               const std::string& data_directory,
                                                               const Membership& initial) {
  std::unique_ptr<LogDatabase> log(new LogDatabase(data_directory, data_directory + "/log"));
  absl::Status status = log->OpenDatabase(options);
  if (status.ok()) status = log->CreateOrCheck(initial);
  if (!status.ok()) return status;
  return log;
}

absl::Status LogDatabase::OpenDatabase(const StorageOptions& options) {
  const bool exists = FileExists(directory_ + "/CURRENT");
  if (!exists && FileExists(data_directory_ + "/acknowledged")) {
    return Damaged("has no RocksDB database, although this node has had a log");
  }
  const absl::Status made = MakeDirectory(directory_);
  if (!made.ok()) return made;
  const rocksdb::Options db_options = LogDatabaseOptions(options, trim_);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(db_options, directory_, &db);
  if (!opened.ok()) return FromRocksStatus(opened, "cannot open the log " + directory_);
  db_.reset(db);
  return absl::OkStatus();
}

// A log that was created completely has a base and then, last, a mark. What a crash amid the
// creation leaves has neither entries nor hard state and is completed.
absl::Status LogDatabase::CreateOrCheck(const Membership& initial) {
  const std::string mark_path = data_directory_ + "/acknowledged";
  if (!FileExists(mark_path)) {
    const std::unique_ptr<rocksdb::Iterator> it = NewLogIterator(db_.get());
    it->SeekToFirst();
    if (it->Valid() && View(it->key()) == kLogBaseKey) it->Next();
    if (!it->status().ok()) return FromRocksStatus(it->status(), "cannot read " + directory_);
    if (it->Valid()) {
      return DamagedData(mark_path +
                         " is missing, so that it cannot be told whether the log is "
                         "complete");
    }
    rocksdb::WriteOptions durable;
    durable.sync = true;
    const rocksdb::Status put =
        db_->Put(durable, kLogBaseKey, EncodeBase(LogBase{.membership = initial}));
    if (!put.ok()) return FromRocksStatus(put, "cannot write to " + directory_);
    const absl::Status created = AcknowledgedMark::Create(mark_path);
    if (!created.ok()) return created;
  }
  absl::StatusOr<std::unique_ptr<AcknowledgedMark>> mark = AcknowledgedMark::Open(mark_path);
  if (!mark.ok()) return mark.status();
  mark_ = std::move(*mark);
  return absl::OkStatus();
}

absl::Status LogDatabase::Damaged(const std::string& what) const {
  return DamagedData("log " + directory_ + " " + what);
}

absl::StatusOr<LogBase> LogDatabase::ReadBase() const {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), kLogBaseKey, &value);
  if (status.IsNotFound()) return Damaged("has lost the record of where it begins");
  if (!status.ok()) return FromRocksStatus(status, "cannot read the base of " + directory_);
  const std::optional<std::string_view> payload = OpenRecord(value);
  if (!payload.has_value()) return Damaged("has a damaged record of where it begins");
  Decoder decoder(*payload);
  LogBase base;
  base.point = TakeLogPoint(&decoder);
  if (!decoder.ok() || !DecodeMembership(decoder.rest(), &base.membership)) {
    return Damaged("has a malformed record of where it begins");
  }
  return base;
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
  return IndexOfEntryKey(View(it->key()));
}

absl::StatusOr<EntryPtr> LogDatabase::ReadEntry(Index index) const {
  absl::StatusOr<std::vector<EntryPtr>> entries = Read(index, 0);
  if (!entries.ok()) return entries.status();
  return entries->front();
}

absl::StatusOr<LogPoint> LogDatabase::PointAt(Index index) const {
  {
    MutexLock lock(&mu_);
    if (index == base_.point.at.index) return base_.point;
  }
  const absl::StatusOr<EntryPtr> entry = ReadEntry(index);
  if (!entry.ok()) return entry.status();
  return (*entry)->point();
}

LogBase LogDatabase::base() const {
  MutexLock lock(&mu_);
  return base_;
}

absl::StatusOr<std::vector<EntryPtr>> LogDatabase::Read(Index first, size_t bytes_max) const {
  const std::unique_ptr<rocksdb::Iterator> it = NewLogIterator(db_.get());
  std::vector<EntryPtr> entries;
  size_t bytes = 0;
  Index next = first;
  for (it->Seek(EntryKey(first)); it->Valid() && IsEntryKey(View(it->key())); it->Next()) {
    const rocksdb::Slice value = it->value();
    if (entries.size() >= kReadEntriesMin && bytes + value.size() > bytes_max) break;
    if (IndexOfEntryKey(View(it->key())) != next) {
      return Damaged(fmt::format("has lost entry {}", next.value()));
    }
    absl::StatusOr<EntryPtr> entry = Entry::Parse(value.ToString());
    if (!entry.ok() || (*entry)->index() != next ||
        (!entries.empty() && !(*entry)->Follows(entries.back()->point()))) {
      return Damaged(fmt::format(
          "is damaged at entry {}: {}", next.value(),
          entry.ok() ? "it does not follow the one before it" : MessageOf(entry.status())));
    }
    bytes += value.size();
    entries.push_back(std::move(*entry));
    next = next.Next();
  }
  if (!it->status().ok()) {
    return FromRocksStatus(it->status(),
                           fmt::format("cannot read entry {} of {}", next.value(), directory_));
  }
  if (entries.empty()) return Damaged(fmt::format("has lost entry {}", first.value()));
  return entries;
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

// The mark is lowered before a truncation, so the entry that it names is still there, if the log
// reaches that far.
absl::Status LogDatabase::CheckMark(const LogRecovery& recovery) const {
  const AcknowledgedMark::Value& mark = mark_->value();
  if (mark.at.index > recovery.last.at.index || mark.at.index < recovery.base.point.at.index) {
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
  recovery.acknowledged = mark.at.index;

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
  if (status.ok()) status = CheckMark(recovery);
  if (!status.ok()) return status;

  trim_->SetFirst(base_index.Next());
  last_ = recovery.last;
  hard_state_ = recovery.hard_state;
  return recovery;
}

absl::Status LogDatabase::Write(const std::vector<LogWrite>& writes, const LogBase* base) {
  batch_.Clear();
  for (const LogWrite& write : writes) {
    if (write.truncate_from.has_value()) {
      SKEIN_CHECK(&write == &writes.front());
      const absl::Status status = Truncate(*write.truncate_from, write.entries.size());
      if (!status.ok()) return status;
    }
    Append(write);
  }
  if (base != nullptr) batch_.Put(kLogBaseKey, EncodeBase(*base));
  rocksdb::WriteOptions durable;
  durable.sync = true;
  const rocksdb::Status written = db_->Write(durable, &batch_);
  if (!written.ok()) return FromRocksStatus(written, "cannot write to the log " + directory_);
  if (base != nullptr) {
    MutexLock lock(&mu_);
    base_ = *base;
    trim_->SetFirst(base->point.at.index.Next());
  }
  return RaiseMark();
}

absl::Status LogDatabase::Truncate(Index from, size_t replaced) {
  SKEIN_CHECK(from > base().point.at.index);
  const Index last = last_.at.index;
  SKEIN_CHECK(from <= last.Next());
  if (from > last) return absl::OkStatus();
  const absl::StatusOr<LogPoint> left = PointAt(from.Previous());
  if (!left.ok()) return left.status();
  AcknowledgedMark::Value mark = mark_->value();
  // A mark above the log is a debt of a damaged log, and stays.
  if (mark.at.index >= from && mark.at.index <= last) {
    mark.at = left->at;
    mark.chain = left->chain;
    const absl::Status lowered = mark_->Lower(mark);
    if (!lowered.ok()) return lowered;
  }
  // What the new entries overwrite needs no tombstone.
  for (Index index = from + replaced; index <= last; index = index.Next()) {
    batch_.Delete(EntryKey(index));
  }
  last_ = *left;
  return absl::OkStatus();
}

void LogDatabase::Append(const LogWrite& write) {
  for (const EntryPtr& entry : write.entries) {
    SKEIN_CHECK(entry->Follows(last_));
    batch_.Put(EntryKey(entry->index()), entry->frame());
    last_ = entry->point();
  }
  if (write.hard_state.has_value()) {
    hard_state_ = *write.hard_state;
    batch_.Put(kHardStateKey, EncodeHardState(hard_state_));
  }
}

// While the log is shorter than the mark (it was damaged), the mark remembers what is owed.
absl::Status LogDatabase::RaiseMark() {
  AcknowledgedMark::Value mark = mark_->value();
  if (last_.at.index >= mark.at.index) {
    mark.at = last_.at;
    mark.chain = last_.chain;
  }
  mark.term = hard_state_.term;
  mark.vote = hard_state_.vote;
  return mark_->Raise(mark);
}

absl::Status LogDatabase::DropTrimmedFiles() {
  const Index base_index = base().point.at.index;
  if (base_index == Index(0)) return absl::OkStatus();
  const std::string first = EntryKey(Index(0));
  const std::string last = EntryKey(base_index);
  const rocksdb::Slice begin(first);
  const rocksdb::Slice end(last);
  const rocksdb::RangePtr range(&begin, &end);
  return FromRocksStatus(
      rocksdb::DeleteFilesInRanges(db_.get(), db_->DefaultColumnFamily(), &range, 1, true),
      "cannot drop trimmed files of " + directory_);
}

}  // namespace skein
