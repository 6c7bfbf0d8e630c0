// Sees to it that a process which was told to stop ends, even if its disk does not answer.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "common/mutex.h"
#include "server/logging.h"

namespace skein {

// Thread-safe.
class StopGuard {
 public:
  // The logger outlives the guard. `data_directory` is named when the process is ended.
  StopGuard(std::string data_directory, Logger* logger);
  // The process has stopped in time.
  ~StopGuard();
  StopGuard(const StopGuard&) = delete;
  StopGuard& operator=(const StopGuard&) = delete;

  // From now on the process has so long; then it is ended with a line in the log and exit code 1.
  // Called again, it can only become less.
  void Allow(std::chrono::milliseconds time) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Watch() ABSL_LOCKS_EXCLUDED(mu_);

  const std::string data_directory_;
  Logger* const logger_;

  Mutex mu_;
  CondVar changed_;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<std::chrono::steady_clock::time_point> deadline_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace skein
