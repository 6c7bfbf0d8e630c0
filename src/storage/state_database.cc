#include "storage/state_database.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "common/check.h"
#include "common/error.h"
#include "fmt/format.h"
#include "rocksdb/utilities/checkpoint.h"
#include "storage/damage.h"
#include "storage/file_util.h"
#include "storage/record.h"
#include "storage/state_keys.h"

namespace skein {

void FlushListener::Record(rocksdb::SequenceNumber sequence, Index index) {
  MutexLock lock(&mu_);
  applied_.emplace_back(sequence, index);
}

void FlushListener::SetCallback(std::function<void(Index)> callback) {
  MutexLock lock(&mu_);
  callback_ = std::move(callback);
}

void FlushListener::OnFlushCompleted(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& info) {
  MutexLock lock(&mu_);
  std::optional<Index> durable;
  while (!applied_.empty() && applied_.front().first <= info.largest_seqno) {
    durable = applied_.front().second;
    applied_.pop_front();
  }
  if (durable.has_value() && callback_ != nullptr) callback_(*durable);
}

absl::StatusOr<std::unique_ptr<KvStateMachine::Database>> KvStateMachine::Database::Open(
    const StorageOptions& options, const std::string& directory) {
  std::unique_ptr<Database> state(new Database(directory));
  absl::Status status = MakeDirectory(state->directory_);
  if (!status.ok()) return status;
  // RocksDB would begin anew, and remove what it does not know.
  if (!FileExists(state->directory_ + "/CURRENT") && HasFilesEndingIn(state->directory_, ".sst")) {
    return state->Damaged("has lost its file CURRENT");
  }
  const rocksdb::Options db_options = StateDatabaseOptions(options, state->flushes_);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(db_options, state->directory_, &db);
  if (!opened.ok()) {
    return FromRocksStatus(opened, "cannot open the state " + state->directory_,
                           state->RebuildHint());
  }
  state->db_.reset(db);
  absl::StatusOr<StateHead> head = ReadStateHead(db, "state " + directory, state->RebuildHint());
  if (!head.ok()) return head.status();
  state->recovered_ = *head;
  state->head_ = *std::move(head);
  state->head_.installed.reset();  // never changes
  MutexLock lock(&state->mu_);
  state->membership_ = state->head_.membership;
  return state;
}

// A directory that cannot be moved away goes at the next start.
KvStateMachine::Database::~Database() {
  db_.reset();
  if (trash_ != nullptr) trash_->Discard(directory_).IgnoreError();
}

// A state that holds something keeps it at once, so that its snapshots have it, too.
absl::Status KvStateMachine::Database::AdoptMembership(const Membership& membership) {
  if (!head_.membership.members.empty()) return absl::OkStatus();
  head_.membership = membership;
  {
    MutexLock lock(&mu_);
    membership_ = membership;
  }
  if (head_.applied.at.index == Index(0)) return absl::OkStatus();
  rocksdb::WriteOptions no_log;
  no_log.disableWAL = true;
  return FromRocksStatus(db_->Put(no_log, kMetaKey, EncodeStateMeta(head_)),
                         "cannot write to the state " + directory_, RebuildHint());
}

Membership KvStateMachine::Database::membership() const {
  MutexLock lock(&mu_);
  return membership_;
}

// The log of the state is off, so what is in memory must be written first.
absl::Status KvStateMachine::Database::Checkpoint(const std::string& directory) const {
  constexpr uint64_t kAlwaysFlush = 0;
  rocksdb::Checkpoint* made = nullptr;
  rocksdb::Status status = rocksdb::Checkpoint::Create(db_.get(), &made);
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  if (status.ok()) status = checkpoint->CreateCheckpoint(directory, kAlwaysFlush);
  return FromRocksStatus(status, "cannot make a copy of the state " + directory_, RebuildHint());
}

void KvStateMachine::Database::SetDurableCallback(std::function<void(Index)> callback) {
  flushes_->SetCallback(std::move(callback));
}

// Appends the entry's commands to commands_; takes a membership into `head`.
absl::Status KvStateMachine::Database::Decode(const Entry& entry, StateHead* head) {
  const size_t before = commands_.size();
  Decoder decoder(entry.payload());
  bool valid = true;
  while (entry.type() == EntryType::kCommands && valid && !decoder.empty()) {
    CommandView command;
    valid = NextCommand(&decoder, &command);
    if (!valid) break;
    commands_.push_back({command, entry.first_revision() + (commands_.size() - before)});
  }
  if (entry.type() == EntryType::kMembership) {
    valid = DecodeMembership(entry.payload(), &head->membership);
  }
  head->applied = entry.point();
  head->cluster_time_ms = std::max(head->cluster_time_ms, entry.cluster_time_ms());
  if (valid && commands_.size() - before == entry.command_count()) return absl::OkStatus();
  return DamagedData(
      fmt::format("entry {} holds a malformed {}, it cannot be applied", entry.index().value(),
                  entry.type() == EntryType::kMembership ? "membership" : "batch of commands"));
}

absl::StatusOr<Applied> KvStateMachine::Database::Apply(const std::vector<EntryPtr>& entries) {
  SKEIN_CHECK(!entries.empty());
  commands_.clear();
  StateHead head = head_;
  for (const EntryPtr& entry : entries) {
    if (!entry->Follows(head.applied)) {
      return DamagedData(fmt::format("entry {} does not follow the applied entry {} of {}",
                                     entry->index().value(), head.applied.at.index.value(),
                                     directory_));
    }
    const absl::Status decoded = Decode(*entry, &head);
    if (!decoded.ok()) return decoded;
  }
  Applied applied{.index = head.applied.at.index, .revision = head.applied.revision};
  absl::Status status = FindOutcomes(&applied.outcomes);
  if (status.ok()) status = BuildBatch();
  if (!status.ok()) return status;
  // Last in the batch: the flush that holds it holds the whole batch.
  batch_.Put(kMetaKey, EncodeStateMeta(head));
  rocksdb::WriteOptions no_log;
  no_log.disableWAL = true;
  const rocksdb::Status written = db_->Write(no_log, &batch_);
  if (!written.ok()) {
    return FromRocksStatus(written, "cannot write to the state " + directory_, RebuildHint());
  }
  flushes_->Record(db_->GetLatestSequenceNumber(), applied.index);
  if (head.membership != head_.membership) {
    MutexLock lock(&mu_);
    membership_ = head.membership;
  }
  head_ = std::move(head);
  return applied;
}

// Whether each delete found its key, which earlier commands of the group may have put or deleted.
absl::Status KvStateMachine::Database::FindOutcomes(std::vector<CommandOutcome>* outcomes) {
  absl::flat_hash_map<std::string_view, bool> exists;  // of the keys that the group deletes
  for (const GroupCommand& command : commands_) {
    if (command.view.type != CommandType::kDelete || exists.contains(command.view.key)) continue;
    const absl::StatusOr<bool> found = Exists(command.view.key);
    if (!found.ok()) return found.status();
    exists.emplace(command.view.key, *found);
  }
  if (exists.empty()) return absl::OkStatus();
  for (const GroupCommand& command : commands_) {
    const auto key = exists.find(command.view.key);
    if (key == exists.end()) continue;
    const bool is_put = command.view.type == CommandType::kPut;
    if (!is_put) outcomes->push_back({command.revision, key->second});
    key->second = is_put;
  }
  return absl::OkStatus();
}

// In key order, which makes RocksDB's inserts cheaper, and only the last command of each key: the
// group becomes visible as a whole.
absl::Status KvStateMachine::Database::BuildBatch() {
  std::sort(commands_.begin(), commands_.end(), [](const GroupCommand& a, const GroupCommand& b) {
    const int order = a.view.key.compare(b.view.key);
    return order != 0 ? order < 0 : a.revision < b.revision;
  });
  batch_.Clear();
  for (size_t i = 0; i < commands_.size(); ++i) {
    const CommandView& command = commands_[i].view;
    if (i + 1 < commands_.size() && commands_[i + 1].view.key == command.key) continue;
    SetDataKey(&key_, command.key);
    rocksdb::Status status;
    if (command.type == CommandType::kPut) {
      SetDataValue(&value_, commands_[i].revision, command.value);
      status = batch_.Put(key_, value_);
    } else {
      status = batch_.Delete(key_);
    }
    if (!status.ok()) return FromRocksStatus(status, "cannot build a write to " + directory_);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> KvStateMachine::Database::Exists(std::string_view key) const {
  std::string data_key;
  SetDataKey(&data_key, key);
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), data_key, &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return ReadFailure(status);
  return true;
}

absl::Status KvStateMachine::Database::ReadFailure(const rocksdb::Status& status) const {
  return Noticed(FromRocksStatus(status, "cannot read the state " + directory_, RebuildHint()));
}

absl::Status KvStateMachine::Database::Damaged(const std::string& what) const {
  return Noticed(DamagedData("state " + directory_ + " " + what, RebuildHint()));
}

std::string KvStateMachine::Database::RebuildHint() const {
  return "Stop this node, move " + directory_ +
         " away and start it again: it makes its state anew from the log. If the log no longer "
         "reaches back to the beginning, it will say so; then remove the node from the cluster, "
         "move its data directory away, and add it again.";
}

absl::Status KvStateMachine::Database::Noticed(absl::Status status) const {
  if (absl::IsDataLoss(status) && damage_listener_ != nullptr && !damage_noticed_.exchange(true)) {
    damage_listener_(status);
  }
  return status;
}

absl::Status KvStateMachine::Database::Flush() {
  return FromRocksStatus(db_->Flush(rocksdb::FlushOptions()),
                         "cannot flush the state " + directory_);
}

KvStateMachine::CurrentDatabase::CurrentDatabase(std::shared_ptr<Database> database)
    : database_(std::move(database)) {
  const LogPoint& applied = database_->recovered().applied;
  SetApplied(applied.at.index, applied.revision);
}

std::shared_ptr<KvStateMachine::Database> KvStateMachine::CurrentDatabase::Get() const {
  MutexLock lock(&mu_);
  return database_;
}

std::shared_ptr<KvStateMachine::Database> KvStateMachine::CurrentDatabase::Exchange(
    std::shared_ptr<Database> database) {
  MutexLock lock(&mu_);
  database->SetDamageListener(damage_listener_);
  database_.swap(database);
  return database;
}

void KvStateMachine::CurrentDatabase::SetDamageListener(
    std::function<void(const absl::Status&)> listener) {
  MutexLock lock(&mu_);
  database_->SetDamageListener(listener);
  damage_listener_ = std::move(listener);
}

void KvStateMachine::CurrentDatabase::SetApplied(Index index, Revision revision) {
  applied_index_.store(index.value(), std::memory_order_release);
  applied_revision_.store(revision.value(), std::memory_order_release);
}

}  // namespace skein
