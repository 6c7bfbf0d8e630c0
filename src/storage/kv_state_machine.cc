#include "storage/kv_state_machine.h"

#include <utility>

#include "storage/apply_worker.h"
#include "storage/env_file.h"
#include "storage/state_database.h"
#include "storage/state_directory.h"

namespace skein {

KvStateMachine::KvStateMachine(const StorageOptions& options, const std::string& data_directory,
                               std::shared_ptr<Trash> trash,
                               std::unique_ptr<IncomingSnapshot> incoming,
                               std::shared_ptr<Database> database)
    : trash_(std::move(trash)),
      incoming_(std::move(incoming)),
      database_(std::make_unique<CurrentDatabase>(database)),
      recovered_(database->recovered().applied),
      recovered_install_(database->recovered().installed),
      worker_(std::make_unique<Worker>(options, data_directory, trash_, incoming_.get(),
                                       database_.get())) {}

KvStateMachine::~KvStateMachine() = default;

absl::StatusOr<std::unique_ptr<KvStateMachine>> KvStateMachine::Open(
    const StorageOptions& options, const std::string& data_directory) {
  absl::StatusOr<std::unique_ptr<Trash>> trash = Trash::Open(options, data_directory);
  if (!trash.ok()) return trash.status();
  const absl::StatusOr<std::string> directory =
      SettleStateDirectory(EnvOf(options), data_directory, trash->get());
  if (!directory.ok()) return directory.status();
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(options, *directory);
  if (!database.ok()) return database.status();
  const Index applied = (*database)->recovered().applied.at.index;
  absl::StatusOr<std::unique_ptr<IncomingSnapshot>> incoming =
      IncomingSnapshot::Open(options, data_directory, trash->get(), applied);
  if (!incoming.ok()) return incoming.status();
  return std::unique_ptr<KvStateMachine>(new KvStateMachine(
      options, data_directory, *std::move(trash), *std::move(incoming), *std::move(database)));
}

void KvStateMachine::SetAppliedListener(std::function<void(Index, Revision)> listener) {
  worker_->SetAppliedListener(std::move(listener));
}
void KvStateMachine::SetDamageListener(std::function<void(const absl::Status&)> listener) {
  database_->SetDamageListener(std::move(listener));
}
absl::Status KvStateMachine::AdoptMembership(const Membership& membership) {
  return database_->Get()->AdoptMembership(membership);
}
LogPoint KvStateMachine::Recovered() const { return recovered_; }
std::optional<LogBase> KvStateMachine::RecoveredInstall() const { return recovered_install_; }
void KvStateMachine::Start(EventSink* sink) { worker_->Start(sink); }
void KvStateMachine::Apply(std::vector<EntryPtr> entries) { worker_->Apply(std::move(entries)); }
void KvStateMachine::Install(const LogBase& base) { worker_->Install(base); }

absl::StatusOr<std::optional<VersionedValue>> KvStateMachine::Get(std::string_view key) const {
  return database_->Get()->Get(key);
}
absl::StatusOr<std::vector<std::optional<VersionedValue>>> KvStateMachine::MultiGet(
    const std::vector<std::string_view>& keys) const {
  return database_->Get()->MultiGet(keys);
}
absl::StatusOr<uint64_t> KvStateMachine::Scan(
    const ScanSpec& spec, const std::function<bool(const KeyValueView&)>& visit) const {
  return database_->Get()->Scan(spec, visit);
}
Index KvStateMachine::applied_index() const { return database_->applied_index(); }
Revision KvStateMachine::applied_revision() const { return database_->applied_revision(); }
Membership KvStateMachine::membership() const { return database_->Get()->membership(); }
absl::StatusOr<uint64_t> KvStateMachine::Digest() const { return database_->Get()->Digest(); }
absl::Status KvStateMachine::Flush() { return database_->Get()->Flush(); }
absl::Status KvStateMachine::Checkpoint(const std::string& directory) const {
  return database_->Get()->Checkpoint(directory);
}

}  // namespace skein
