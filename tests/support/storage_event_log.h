// An EventSink that keeps what was posted, and lets a test wait for it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "replication/log_store.h"

namespace skein {

// Thread-safe.
class EventLog final : public EventSink {
 public:
  void Post(Event event) override {
    MutexLock lock(&mu_);
    events_.push_back(std::move(event));
    changed_.SignalAll();
  }

  std::vector<Event> events() const {
    MutexLock lock(&mu_);
    return events_;
  }

  // Waits until `done` holds of the events so far. False if that takes longer than 20 s.
  bool WaitUntil(const std::function<bool(const std::vector<Event>&)>& done) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    MutexLock lock(&mu_);
    while (!done(events_)) {
      if (!changed_.WaitUntil(&mu_, deadline)) return done(events_);
    }
    return true;
  }

  // All events of one kind, in order.
  template <typename T>
  std::vector<T> All() const {
    MutexLock lock(&mu_);
    return AllOf<T>(events_);
  }
  template <typename T>
  static std::vector<T> AllOf(const std::vector<Event>& events) {
    std::vector<T> found;
    for (const Event& event : events) {
      if (const T* match = std::get_if<T>(&event)) found.push_back(*match);
    }
    return found;
  }

 private:
  mutable Mutex mu_;
  mutable CondVar changed_;
  std::vector<Event> events_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
