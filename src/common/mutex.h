// Locks for everything in Skein that threads share: pthread's, with clang's thread safety
// annotations. Not absl::Mutex: the thread sanitizer knows how pthread synchronises, but not a
// library that was built without it, and what it checks should be what runs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace skein {

// Not recursive.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }

 private:
  std::mutex mu_;

  friend class CondVar;
};

// Holds the lock as long as it lives.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

// Waits may end without a reason: callers look at their condition again. All waits on one CondVar
// use the same Mutex, which they give up meanwhile.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Wait(Mutex* mu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Held held(mu);
    changed_.wait(held.lock);
  }

  // False if it ended because it is `deadline`.
  bool WaitUntil(Mutex* mu, std::chrono::steady_clock::time_point deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Held held(mu);
    return changed_.wait_until(held.lock, deadline) == std::cv_status::no_timeout;
  }
  bool WaitFor(Mutex* mu, std::chrono::microseconds timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return WaitUntil(mu, std::chrono::steady_clock::now() + timeout);
  }

  void Signal() { changed_.notify_one(); }
  void SignalAll() { changed_.notify_all(); }

 private:
  // The caller's lock, lent to the standard library for the time of a wait.
  struct Held {
    explicit Held(Mutex* mu) : lock(mu->mu_, std::adopt_lock) {}
    ~Held() { lock.release(); }
    std::unique_lock<std::mutex> lock;
  };

  std::condition_variable changed_;
};

// Something that happens once, and threads that wait for it. Who has seen it happen may destroy it.
class Notification {
 public:
  void Notify() {
    // Signals while it holds the lock: the waiter may destroy both as soon as it is free.
    MutexLock lock(&mu_);
    happened_ = true;
    changed_.SignalAll();
  }

  void Wait() {
    MutexLock lock(&mu_);
    while (!happened_) changed_.Wait(&mu_);
  }

  // False if it has not happened after `timeout`.
  bool WaitFor(std::chrono::microseconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    MutexLock lock(&mu_);
    while (!happened_ && changed_.WaitUntil(&mu_, deadline)) continue;
    return happened_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool happened_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace skein
