#include "storage/kv_state_machine.h"

#include <deque>
#include <iterator>
#include <thread>
#include <utility>

#include "common/check.h"
#include "storage/state_database.h"

namespace skein {

class KvStateMachine::Worker {
 public:
  Worker(const StorageOptions& options, Database* database)
      : group_bytes_max_(options.state_group_bytes_max), database_(database) {}
  ~Worker();

  void SetAppliedListener(std::function<void(Index, Revision)> listener) {
    SKEIN_CHECK(sink_ == nullptr);
    listener_ = std::move(listener);
  }
  void Start(EventSink* sink);
  void Apply(std::vector<EntryPtr> entries);

 private:
  void Run();
  std::vector<EntryPtr> TakeGroup() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after Start.
  const size_t group_bytes_max_;
  Database* const database_;
  EventSink* sink_ = nullptr;
  std::function<void(Index, Revision)> listener_;

  Mutex mu_;
  CondVar work_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<EntryPtr> queue_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

KvStateMachine::Worker::~Worker() {
  database_->SetDurableCallback(nullptr);
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void KvStateMachine::Worker::Start(EventSink* sink) {
  SKEIN_CHECK(sink_ == nullptr);
  sink_ = sink;
  database_->SetDurableCallback([sink](Index index) { sink->Post(StateDurable{index}); });
  thread_ = std::thread([this] { Run(); });
}

void KvStateMachine::Worker::Apply(std::vector<EntryPtr> entries) {
  MutexLock lock(&mu_);
  std::move(entries.begin(), entries.end(), std::back_inserter(queue_));
  work_.Signal();
}

std::vector<EntryPtr> KvStateMachine::Worker::TakeGroup() {
  std::vector<EntryPtr> group;
  size_t bytes = 0;
  do {
    bytes += queue_.front()->bytes();
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
  } while (!queue_.empty() && bytes + queue_.front()->bytes() <= group_bytes_max_);
  return group;
}

void KvStateMachine::Worker::Run() {
  while (true) {
    std::vector<EntryPtr> group;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && queue_.empty()) work_.Wait(&mu_);
      if (stopping_) return;
      group = TakeGroup();
    }
    absl::StatusOr<Applied> applied = database_->Apply(group);
    if (!applied.ok()) {
      sink_->Post(StorageFailed{applied.status()});
      return;
    }
    if (listener_ != nullptr) listener_(applied->index, applied->revision);
    sink_->Post(std::move(*applied));
  }
}

KvStateMachine::KvStateMachine(std::unique_ptr<Database> database, std::unique_ptr<Worker> worker)
    : database_(std::move(database)), worker_(std::move(worker)) {}

KvStateMachine::~KvStateMachine() = default;

absl::StatusOr<std::unique_ptr<KvStateMachine>> KvStateMachine::Open(
    const StorageOptions& options, const std::string& data_directory) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(options, data_directory);
  if (!database.ok()) return database.status();
  auto worker = std::make_unique<Worker>(options, database->get());
  return std::unique_ptr<KvStateMachine>(
      new KvStateMachine(std::move(*database), std::move(worker)));
}

void KvStateMachine::SetAppliedListener(std::function<void(Index, Revision)> listener) {
  worker_->SetAppliedListener(std::move(listener));
}
void KvStateMachine::SetDamageListener(std::function<void(const absl::Status&)> listener) {
  database_->SetDamageListener(std::move(listener));
}
LogPoint KvStateMachine::Recovered() const { return database_->recovered(); }
void KvStateMachine::Start(EventSink* sink) { worker_->Start(sink); }
void KvStateMachine::Apply(std::vector<EntryPtr> entries) { worker_->Apply(std::move(entries)); }

absl::StatusOr<std::optional<VersionedValue>> KvStateMachine::Get(std::string_view key) const {
  return database_->Get(key);
}
absl::StatusOr<std::vector<std::optional<VersionedValue>>> KvStateMachine::MultiGet(
    const std::vector<std::string_view>& keys) const {
  return database_->MultiGet(keys);
}
absl::StatusOr<uint64_t> KvStateMachine::Scan(
    const ScanSpec& spec, const std::function<bool(const KeyValueView&)>& visit) const {
  return database_->Scan(spec, visit);
}
Index KvStateMachine::applied_index() const { return database_->applied_index(); }
Revision KvStateMachine::applied_revision() const { return database_->applied_revision(); }
absl::StatusOr<uint64_t> KvStateMachine::Digest() const { return database_->Digest(); }
absl::Status KvStateMachine::Flush() { return database_->Flush(); }

}  // namespace skein
