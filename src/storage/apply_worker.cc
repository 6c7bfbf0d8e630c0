#include "storage/apply_worker.h"

#include <iterator>
#include <utility>

#include "common/check.h"
#include "fmt/format.h"
#include "storage/damage.h"
#include "storage/env_file.h"
#include "storage/state_directory.h"

namespace skein {

KvStateMachine::Worker::Worker(const StorageOptions& options, std::string data_directory,
                               std::shared_ptr<Trash> trash, IncomingSnapshot* incoming,
                               CurrentDatabase* current)
    : options_(options),
      data_directory_(std::move(data_directory)),
      trash_(std::move(trash)),
      incoming_(incoming),
      current_(current),
      applied_(current->Get()->recovered().applied) {}

KvStateMachine::Worker::~Worker() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
  current_->Get()->SetDurableCallback(nullptr);
}

void KvStateMachine::Worker::SetAppliedListener(std::function<void(Index, Revision)> listener) {
  SKEIN_CHECK(sink_ == nullptr);
  listener_ = std::move(listener);
}

void KvStateMachine::Worker::Start(EventSink* sink) {
  SKEIN_CHECK(sink_ == nullptr);
  sink_ = sink;
  SetDurableCallback(current_->Get().get());
  thread_ = std::thread([this] { Run(); });
}

void KvStateMachine::Worker::SetDurableCallback(Database* database) {
  database->SetDurableCallback([sink = sink_](Index index) { sink->Post(StateDurable{index}); });
}

void KvStateMachine::Worker::Apply(std::vector<EntryPtr> entries) {
  MutexLock lock(&mu_);
  std::move(entries.begin(), entries.end(), std::back_inserter(queue_));
  work_.Signal();
}

void KvStateMachine::Worker::Install(const LogBase& base) {
  MutexLock lock(&mu_);
  queue_.emplace_back(base);
  work_.Signal();
}

KvStateMachine::Worker::Group KvStateMachine::Worker::TakeGroup() {
  if (LogBase* base = std::get_if<LogBase>(&queue_.front())) {
    Group install(std::move(*base));
    queue_.pop_front();
    return install;
  }
  std::vector<EntryPtr> entries;
  size_t bytes = 0;
  while (!queue_.empty()) {
    EntryPtr* next = std::get_if<EntryPtr>(&queue_.front());
    if (next == nullptr) break;
    bytes += (*next)->bytes();
    if (!entries.empty() && bytes > options_.state_group_bytes_max) break;
    entries.push_back(std::move(*next));
    queue_.pop_front();
  }
  return entries;
}

void KvStateMachine::Worker::Run() {
  while (true) {
    Group group;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && queue_.empty()) work_.Wait(&mu_);
      if (stopping_) return;
      group = TakeGroup();
    }
    const LogBase* base = std::get_if<LogBase>(&group);
    const absl::Status status = base != nullptr
                                    ? PerformInstall(*base)
                                    : PerformApply(std::get<std::vector<EntryPtr>>(group));
    if (!status.ok()) {
      sink_->Post(StorageFailed{status});
      return;
    }
  }
}

absl::Status KvStateMachine::Worker::PerformApply(const std::vector<EntryPtr>& entries) {
  absl::StatusOr<skein::Applied> applied = current_->Get()->Apply(entries);
  if (!applied.ok()) return applied.status();
  applied_ = entries.back()->point();
  Tell(applied->index, applied->revision);
  sink_->Post(std::move(*applied));
  return absl::OkStatus();
}

void KvStateMachine::Worker::Tell(Index index, Revision revision) {
  current_->SetApplied(index, revision);
  if (listener_ != nullptr) listener_(index, revision);
}

absl::Status KvStateMachine::Worker::PerformInstall(const LogBase& base) {
  absl::Status failure;
  const absl::StatusOr<std::string> directory =
      NextStateDirectory(EnvOf(options_), data_directory_);
  if (directory.ok()) {
    absl::StatusOr<std::shared_ptr<Database>> database = TakeSnapshot(base, *directory);
    if (database.ok()) {
      UseDatabase(*std::move(database));
      sink_->Post(Installed{base});
      return absl::OkStatus();
    }
    failure = database.status();
    // The next start must not find it: the log goes on with the old state.
    const absl::Status discarded = trash_->Discard(*directory);
    if (!discarded.ok()) return discarded;
  } else {
    failure = directory.status();
  }
  sink_->Post(Installed{failure});
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<KvStateMachine::Database>> KvStateMachine::Worker::TakeSnapshot(
    const LogBase& base, const std::string& directory) {
  // The same state may come again: it is the log that is to begin anew.
  if (base.point.at.index < applied_.at.index) {
    return absl::FailedPreconditionError(
        fmt::format("the state is at index {}, a snapshot for index {} would set it back",
                    applied_.at.index.value(), base.point.at.index.value()));
  }
  const absl::Status moved = incoming_->MoveTo(directory, base);
  if (!moved.ok()) return moved;
  absl::StatusOr<std::unique_ptr<Database>> opened = Database::Open(options_, directory);
  if (!opened.ok()) return opened.status();
  if ((*opened)->recovered().installed != base || (*opened)->recovered().applied != base.point) {
    return DamagedData("state " + directory + " is not the snapshot that was to be installed");
  }
  return std::shared_ptr<Database>(*std::move(opened));
}

void KvStateMachine::Worker::UseDatabase(std::shared_ptr<Database> database) {
  applied_ = database->recovered().applied;
  SetDurableCallback(database.get());
  const std::shared_ptr<Database> old = current_->Exchange(std::move(database));
  old->SetDurableCallback(nullptr);
  old->DiscardWhenClosed(trash_);
  Tell(applied_.at.index, applied_.revision);
}

}  // namespace skein
