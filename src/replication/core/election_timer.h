// When a node that hears nothing campaigns. Counts ticks (R10), randomised from a generator (R13).
#pragma once

#include <cstdint>

#include "common/random.h"
#include "replication/core/options.h"

namespace skein {

class ElectionTimer {
 public:
  ElectionTimer(const CoreOptions& options, Random random) : options_(options), random_(random) {
    Reset();
  }

  // Starts over with a fresh random timeout.
  void Reset() {
    elapsed_ = 0;
    timeout_ = random_.Between(options_.election_ticks_min, options_.election_ticks_max);
  }
  // Starts over with a short pause: the leader's process is gone (R11).
  void ResetShort() {
    elapsed_ = 0;
    timeout_ = random_.Between(0, options_.heartbeat_ticks);
  }
  // Between tries of a fast election that found no winner: long enough for one to finish.
  void ResetRetry() {
    elapsed_ = 0;
    timeout_ = random_.Between(options_.heartbeat_ticks, 4 * options_.heartbeat_ticks);
  }
  void Tick() { ++elapsed_; }
  bool Expired() const { return elapsed_ >= timeout_; }

 private:
  CoreOptions options_;
  Random random_;
  uint64_t elapsed_ = 0;
  uint64_t timeout_ = 0;
};

}  // namespace skein
