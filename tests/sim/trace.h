// What happened in a simulation: a fingerprint of all of it, always; the last lines, if wanted.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "common/checksum.h"
#include "tests/sim/scheduler.h"

namespace skein::sim {

class Trace {
 public:
  // Keeps the last `lines_max` lines; 0: keeps none, and nobody should bother to format any.
  // `live`: prints each line at once instead.
  Trace(const Scheduler* scheduler, size_t lines_max, bool live)
      : scheduler_(scheduler), lines_max_(lines_max), live_(live) {}

  bool on() const { return live_ || lines_max_ > 0; }
  void Say(const std::string& line);

  // Two runs that mix the same numbers in the same order have the same fingerprint.
  void Mix(uint64_t value) {
    fingerprint_ = ChainHash(fingerprint_, value ^ (scheduler_->now_us() << 20));
  }
  uint64_t fingerprint() const { return fingerprint_; }

  std::string LastLines() const;

 private:
  const Scheduler* const scheduler_;
  const size_t lines_max_;
  const bool live_;
  uint64_t fingerprint_ = 0;
  std::deque<std::string> lines_;
};

}  // namespace skein::sim
