// The apply thread of a KvStateMachine: applies entries and installs snapshots, in the order in
// which they were asked for.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "storage/state_database.h"

namespace skein {

class KvStateMachine::Worker {
 public:
  // All that is pointed to outlives it.
  Worker(const StorageOptions& options, std::string data_directory, std::shared_ptr<Trash> trash,
         IncomingSnapshot* incoming, CurrentDatabase* current);
  // Joins the thread; what is queued is dropped.
  ~Worker();

  void SetAppliedListener(std::function<void(Index, Revision)> listener);
  void Start(EventSink* sink);
  void Apply(std::vector<EntryPtr> entries);
  void Install(const LogBase& base);

 private:
  using Task = std::variant<EntryPtr, LogBase /* to install */>;
  using Group = std::variant<std::vector<EntryPtr>, LogBase>;

  void Run();
  Group TakeGroup() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Status PerformApply(const std::vector<EntryPtr>& entries);
  // The status is about the node, which cannot go on; whether the install went well is posted.
  absl::Status PerformInstall(const LogBase& base);
  absl::StatusOr<std::shared_ptr<Database>> TakeSnapshot(const LogBase& base,
                                                         const std::string& directory);
  void UseDatabase(std::shared_ptr<Database> database);
  // Callbacks of the one in use.
  void SetDurableCallback(Database* database);
  void Tell(Index index, Revision revision);

  // Constant after Start.
  const StorageOptions options_;
  const std::string data_directory_;
  const std::shared_ptr<Trash> trash_;
  IncomingSnapshot* const incoming_;
  CurrentDatabase* const current_;
  EventSink* sink_ = nullptr;
  std::function<void(Index, Revision)> listener_;

  // Owned by the thread.
  LogPoint applied_;

  Mutex mu_;
  CondVar work_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace skein
