#include "server/read_gate.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/time.h"

namespace skein {

ReadGate::ReadGate(const Clock* clock) : clock_(clock), thread_([this] { Loop(); }) {}

ReadGate::~ReadGate() { Stop(); }

void ReadGate::WhenApplied(Revision revision, uint64_t deadline_us, Reader reader) {
  bool reached;
  {
    MutexLock lock(&mu_);
    reached = revision <= applied_;
    if (!ended_) {
      if (reached || stopping_) {
        ready_.emplace_back(std::move(reader), reached);
      } else {
        waiting_.emplace(revision, Waiting{deadline_us, std::move(reader)});
      }
      changed_.Signal();
      return;
    }
  }
  reader(reached);
}

void ReadGate::Run(Reader reader) { WhenApplied(Revision(), 0, std::move(reader)); }

void ReadGate::OnApplied(Revision revision) {
  MutexLock lock(&mu_);
  applied_ = std::max(applied_, revision);
  if (!waiting_.empty() && waiting_.begin()->first <= applied_) changed_.Signal();
}

void ReadGate::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

uint64_t ReadGate::CollectDue() {
  const uint64_t now_us = clock_->MonotonicMicros();
  uint64_t next_us = now_us + 1'000'000;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const bool reached = it->first <= applied_;
    if (reached || stopping_ || it->second.deadline_us <= now_us) {
      ready_.emplace_back(std::move(it->second.reader), reached);
      it = waiting_.erase(it);
    } else {
      next_us = std::min(next_us, it->second.deadline_us);
      ++it;
    }
  }
  return next_us;
}

void ReadGate::Loop() {
  std::vector<std::pair<Reader, bool>> ready;
  for (;;) {
    {
      MutexLock lock(&mu_);
      for (;;) {
        const uint64_t next_us = CollectDue();
        if (!ready_.empty() || stopping_) break;
        const uint64_t now_us = clock_->MonotonicMicros();
        if (next_us > now_us) {
          changed_.WaitFor(&mu_, std::chrono::microseconds(next_us - now_us));
        }
      }
      if (ready_.empty()) {
        ended_ = true;
        return;
      }
      ready.swap(ready_);
    }
    for (auto& [reader, reached] : ready) reader(reached);
    ready.clear();
  }
}

}  // namespace skein
