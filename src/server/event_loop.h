// The one thread that touches the Replica. Everything reaches it through a queue: events of the
// core, and tasks.
//
// Invariants:
//  1. Whatever is waiting is handled before a tick is, and ticks that were missed are not made up
//     for: a starved process does not start elections (R10).
//  2. After each drain of the queue the replica performs once, so that everything that arrived
//     together travels together.
//  3. When Stop has returned, no event is handled and no task runs any more.
#pragma once

#include <functional>
#include <thread>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "replication/replica.h"

namespace skein {

class EventLoop final : public EventSink {
 public:
  using Task = absl::AnyInvocable<void(Replica&)>;

  EventLoop(const Clock* clock, uint64_t tick_ms);
  ~EventLoop() override;

  // Thread-safe. Dropped after Stop.
  void Post(Event event) override;
  // Thread-safe. A task posted before Stop runs, a later one is destroyed without having run.
  void PostTask(Task task);

  // `after_perform` runs on the loop's thread whenever the replica has performed. The replica
  // outlives the loop.
  void Start(Replica* replica, std::function<void(Replica&)> after_perform);
  // Answers all callers of the replica, then ends the thread. Idempotent.
  void Stop();

 private:
  using Item = std::variant<Event, Task>;

  void Push(Item item);
  void Run();
  // Waits for items or the next tick, and takes all items. False: stop.
  bool Take(std::vector<Item>* items, uint64_t next_tick_us);

  const Clock* const clock_;
  const uint64_t tick_us_;

  Replica* replica_ = nullptr;
  std::function<void(Replica&)> after_perform_;
  std::thread thread_;

  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Item> queue_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
