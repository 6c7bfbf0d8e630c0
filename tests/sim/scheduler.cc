#include "tests/sim/scheduler.h"

#include <algorithm>

namespace skein::sim {

void Scheduler::At(uint64_t time_us, Action action) {
  heap_.push_back({std::max(time_us, now_us_), next_order_++, std::move(action)});
  std::push_heap(heap_.begin(), heap_.end(), Later);
}

bool Scheduler::RunNext() {
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), Later);
  Item item = std::move(heap_.back());
  heap_.pop_back();
  now_us_ = item.time_us;
  ++steps_;
  item.action();
  return true;
}

}  // namespace skein::sim
