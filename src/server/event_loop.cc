#include "server/event_loop.h"

#include <chrono>
#include <utility>

#include "absl/time/time.h"

namespace skein {

EventLoop::EventLoop(const Clock* clock, uint64_t tick_ms)
    : clock_(clock), tick_us_(tick_ms * 1000) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Post(Event event) { Push(std::move(event)); }
void EventLoop::PostTask(Task task) { Push(std::move(task)); }

void EventLoop::Push(Item item) {
  MutexLock lock(&mu_);
  if (stopping_) return;
  queue_.push_back(std::move(item));
  if (waiting_) changed_.Signal();
}

void EventLoop::Start(Replica* replica, std::function<void(Replica&)> after_perform) {
  replica_ = replica;
  after_perform_ = std::move(after_perform);
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

bool EventLoop::Take(std::vector<Item>* items, uint64_t next_tick_us) {
  items->clear();
  MutexLock lock(&mu_);
  while (queue_.empty() && !stopping_) {
    const uint64_t now_us = clock_->MonotonicMicros();
    if (now_us >= next_tick_us) break;
    waiting_ = true;
    changed_.WaitFor(&mu_, std::chrono::microseconds(next_tick_us - now_us));
    waiting_ = false;
  }
  items->swap(queue_);
  return !stopping_;
}

void EventLoop::Run() {
  std::vector<Item> items;
  uint64_t next_tick_us = clock_->MonotonicMicros() + tick_us_;
  while (Take(&items, next_tick_us)) {
    for (Item& item : items) {
      if (auto* task = std::get_if<Task>(&item)) {
        (*task)(*replica_);
      } else {
        replica_->Step(std::get<Event>(item));
      }
    }
    const uint64_t now_us = clock_->MonotonicMicros();
    if (now_us >= next_tick_us) {
      replica_->Step(Tick{});
      next_tick_us =
          now_us >= next_tick_us + tick_us_ ? now_us + tick_us_ : next_tick_us + tick_us_;
    }
    replica_->Perform();
    after_perform_(*replica_);
  }
  for (Item& item : items) {
    if (auto* task = std::get_if<Task>(&item)) (*task)(*replica_);
  }
  replica_->Stop();
}

}  // namespace skein
