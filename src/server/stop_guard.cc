#include "server/stop_guard.h"

#include <fmt/format.h>

#include <cstdlib>
#include <utility>

namespace skein {

using std::chrono::steady_clock;

StopGuard::StopGuard(std::string data_directory, Logger* logger)
    : data_directory_(std::move(data_directory)), logger_(logger) {
  thread_ = std::thread([this] { Watch(); });
}

StopGuard::~StopGuard() {
  {
    MutexLock lock(&mu_);
    over_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void StopGuard::Allow(std::chrono::milliseconds time) {
  const auto deadline = steady_clock::now() + time;
  MutexLock lock(&mu_);
  if (deadline_ && *deadline_ <= deadline) return;
  deadline_ = deadline;
  changed_.SignalAll();
}

void StopGuard::Watch() {
  MutexLock lock(&mu_);
  while (!over_) {
    if (!deadline_) {
      changed_.Wait(&mu_);
    } else if (!changed_.WaitUntil(&mu_, *deadline_) && !over_ &&
               steady_clock::now() >= *deadline_) {
      logger_->Event(
          LogLevel::kError, "fatal",
          {{"text", fmt::format("could not stop in time, most likely because the disk of {} does "
                                "not finish a write. What was acknowledged is safe; the process "
                                "ends now",
                                data_directory_)}});
      std::_Exit(EXIT_FAILURE);
    }
  }
}

}  // namespace skein
