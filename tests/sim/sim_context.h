// What every part of one simulation shares.
#pragma once

#include "common/random.h"
#include "tests/sim/coverage.h"
#include "tests/sim/scheduler.h"
#include "tests/sim/sim_options.h"
#include "tests/sim/trace.h"

namespace skein::sim {

class Checker;

struct SimContext {
  const SimOptions* options;
  Scheduler* scheduler;
  Trace* trace;
  Coverage* coverage;
  Checker* checker;

  uint64_t now_us() const { return scheduler->now_us(); }
};

// Exponentially distributed, in whole microseconds, at most ten times the mean.
uint64_t Exponential(Random* random, uint64_t mean_us);

// `n1` for node 0.
std::string NodeName(size_t node);

}  // namespace skein::sim
