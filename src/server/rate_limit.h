// How fast bytes may go, all users of one object together.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace skein {

// Thread-safe.
class RateLimit {
 public:
  // 0: as fast as they come.
  explicit RateLimit(uint64_t bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  // Waits until so many bytes may go. False: stopped.
  bool Take(uint64_t bytes) {
    using std::chrono::steady_clock;
    MutexLock lock(&mu_);
    if (bytes_per_second_ != 0) {
      const steady_clock::time_point begin = std::max(steady_clock::now(), free_);
      free_ = begin + std::chrono::microseconds(bytes * 1'000'000 / bytes_per_second_);
      while (!stopped_ && steady_clock::now() < begin) changed_.WaitUntil(&mu_, begin);
    }
    return !stopped_;
  }

  // Nobody waits any more.
  void Stop() {
    MutexLock lock(&mu_);
    stopped_ = true;
    changed_.SignalAll();
  }

 private:
  const uint64_t bytes_per_second_;
  Mutex mu_;
  CondVar changed_;
  std::chrono::steady_clock::time_point free_ ABSL_GUARDED_BY(mu_);  // when the last bytes are gone
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace skein
