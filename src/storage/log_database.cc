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
// Of a divergent tail, in memory at a time.
constexpr size_t kExportBytes = 16 << 20;

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

std::string EncodeHardState(const HardState& state) {
  std::string payload;
  PutFixed64(&payload, state.term.value());
  PutFixed64(&payload, state.vote.value());
  PutFixed64(&payload, state.commit.value());
  return SealRecord(payload);
}

}  // namespace

std::unique_ptr<rocksdb::Iterator> NewLogIterator(rocksdb::DB* db) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return std::unique_ptr<rocksdb::Iterator>(db->NewIterator(options));
}

absl::StatusOr<std::unique_ptr<LogDatabase>> LogDatabase::Open(const StorageOptions& options,
                                                               const std::string& data_directory,
                                                               const Membership& initial) {
  std::unique_ptr<LogDatabase> log(
      new LogDatabase(options, data_directory, data_directory + "/log"));
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
        db_->Put(durable, kLogBaseKey, SealLogBase(LogBase{.membership = initial}));
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

absl::StatusOr<LogBase> LogDatabase::BaseAt(Index index) const {
  const absl::StatusOr<LogPoint> point = PointAt(index);
  if (!point.ok()) return point.status();
  MutexLock lock(&mu_);
  LogBase base{*point, base_.membership};
  for (const MembershipAt& change : memberships_) {
    if (change.index <= index) base.membership = change.membership;
  }
  return base;
}

absl::StatusOr<std::vector<EntryPtr>> LogDatabase::Read(Index first, size_t bytes_max) const {
  const std::unique_ptr<rocksdb::Iterator> it = NewLogIterator(db_.get());
  std::vector<EntryPtr> entries;
  size_t bytes = 0;
  Index next = first;
  for (it->Seek(EntryKey(first)); it->Valid() && IsEntryKey(View(it->key())); it->Next()) {
    const rocksdb::Slice value = it->value();
    if (entries.size() >= kReadEntriesMin && bytes + value.size() > bytes_max) break;
    if (IndexOfKey(View(it->key())) != next) {
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

absl::Status LogDatabase::Write(const std::vector<LogWrite>& writes, const LogBase* base) {
  batch_.Clear();
  for (const LogWrite& write : writes) {
    absl::Status status;
    if (write.reset.has_value()) {
      SKEIN_CHECK(&write == &writes.front() && !write.truncate_from.has_value());
      base = &*write.reset;
      status = Reset(*base, write.entries.size());
    } else if (write.truncate_from.has_value()) {
      SKEIN_CHECK(&write == &writes.front());
      status = Truncate(*write.truncate_from, write.entries.size());
    }
    if (status.ok()) status = Append(write);
    if (!status.ok()) return status;
  }
  if (base != nullptr) {
    batch_.Put(kLogBaseKey, SealLogBase(*base));
    DropMemberships([base](Index index) { return index <= base->point.at.index; });
  }
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

absl::Status LogDatabase::Reset(const LogBase& base, size_t appended) {
  const LogPoint old_base = this->base().point;
  const Index begin = base.point.at.index;
  const Index last = last_.at.index;
  SKEIN_CHECK(begin >= old_base.at.index);
  // What is known to be committed is part of what the base stands for.
  const Index committed = std::clamp(hard_state_.commit, old_base.at.index, last);
  const absl::Status exported = ExportDivergent(committed.Next());
  if (!exported.ok()) return exported;
  AcknowledgedMark::Value mark = mark_->value();
  // A mark above the log is a debt of a damaged log, and stays. Any other one goes back to where
  // the old log and the new agree, since a crash may leave either.
  if (mark.at.index > begin && mark.at.index <= last) {
    mark.at = old_base.at;
    mark.chain = old_base.chain;
    const absl::Status lowered = mark_->Lower(mark);
    if (!lowered.ok()) return lowered;
  }
  for (Index index = begin + appended + 1; index <= last; index = index.Next()) {
    batch_.Delete(EntryKey(index));
  }
  DropMemberships([](Index) { return true; });
  // A log that begins amid the history is not new, so it must have one.
  batch_.Put(kHardStateKey, EncodeHardState(hard_state_));
  last_ = base.point;
  return absl::OkStatus();
}

absl::Status LogDatabase::Truncate(Index from, size_t replaced) {
  SKEIN_CHECK(from > base().point.at.index);
  const Index last = last_.at.index;
  SKEIN_CHECK(from <= last.Next());
  if (from > last) return absl::OkStatus();
  const absl::StatusOr<LogPoint> left = PointAt(from.Previous());
  if (!left.ok()) return left.status();
  const absl::Status exported = ExportDivergent(from);
  if (!exported.ok()) return exported;
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
  DropMemberships([from](Index index) { return index >= from; });
  last_ = *left;
  return absl::OkStatus();
}

// Writes down the entries from `from` to the end of the log, if there are commands among them.
absl::Status LogDatabase::ExportDivergent(Index from) {
  const auto read = [this](Index first) { return Read(first, kExportBytes); };
  const auto has_commands = [](const EntryPtr& entry) {
    return entry->type() == EntryType::kCommands;
  };
  bool found = false;
  for (Index next = from; next <= last_.at.index && !found;) {
    const absl::StatusOr<std::vector<EntryPtr>> entries = read(next);
    if (!entries.ok()) return entries.status();
    found = std::ranges::any_of(*entries, has_commands);
    next = entries->back()->index().Next();
  }
  if (!found) return absl::OkStatus();
  const absl::StatusOr<LogPoint> after = PointAt(from.Previous());
  if (!after.ok()) return after.status();
  return divergent_.Write(*after, last_, read);
}

absl::Status LogDatabase::Append(const LogWrite& write) {
  for (const EntryPtr& entry : write.entries) {
    SKEIN_CHECK(entry->Follows(last_));
    batch_.Put(EntryKey(entry->index()), entry->frame());
    if (entry->type() == EntryType::kMembership) {
      const absl::Status recorded = AppendMembership(*entry);
      if (!recorded.ok()) return recorded;
    }
    last_ = entry->point();
  }
  if (write.hard_state.has_value()) {
    hard_state_ = *write.hard_state;
    batch_.Put(kHardStateKey, EncodeHardState(hard_state_));
  }
  return absl::OkStatus();
}

absl::Status LogDatabase::AppendMembership(const Entry& entry) {
  MembershipAt change{.index = entry.index()};
  if (!DecodeMembership(entry.payload(), &change.membership)) {
    return Damaged(
        fmt::format("was given entry {}, whose membership is malformed", entry.index().value()));
  }
  batch_.Put(MembershipKey(entry.index()), SealRecord(entry.payload()));
  MutexLock lock(&mu_);
  memberships_.push_back(std::move(change));
  return absl::OkStatus();
}

void LogDatabase::DropMemberships(const std::function<bool(Index)>& unwanted) {
  MutexLock lock(&mu_);
  std::erase_if(memberships_, [this, &unwanted](const MembershipAt& change) {
    if (!unwanted(change.index)) return false;
    batch_.Delete(MembershipKey(change.index));
    return true;
  });
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

absl::Status LogDatabase::ForgetLost() {
  AcknowledgedMark::Value mark = mark_->value();
  if (mark.at.index <= last_.at.index) return absl::OkStatus();
  mark.at = last_.at;
  mark.chain = last_.chain;
  return mark_->Lower(mark);
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
