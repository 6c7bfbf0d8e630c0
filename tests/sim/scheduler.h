// Simulated time: what is to happen, ordered by (time, order of asking). Nothing happens between
// two events, and nothing outside the simulation can be seen in it: same seed, same run.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace skein::sim {

class Scheduler {
 public:
  using Action = absl::AnyInvocable<void()>;

  // In microseconds since the simulation began.
  uint64_t now_us() const { return now_us_; }
  // How many actions have run.
  uint64_t steps() const { return steps_; }

  void At(uint64_t time_us, Action action);
  void After(uint64_t delay_us, Action action) { At(now_us_ + delay_us, std::move(action)); }

  // Runs the next action. False: there is none.
  bool RunNext();

 private:
  struct Item {
    uint64_t time_us;
    uint64_t order;
    Action action;
  };
  // A heap by std::push_heap has the largest in front.
  static bool Later(const Item& a, const Item& b) {
    return std::pair(a.time_us, a.order) > std::pair(b.time_us, b.order);
  }

  uint64_t now_us_ = 0;
  uint64_t steps_ = 0;
  uint64_t next_order_ = 0;
  std::vector<Item> heap_;
};

}  // namespace skein::sim
