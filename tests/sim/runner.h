// Many seeds on several cores, each job a process of its own, so that a seed that aborts (a failed
// check is a bug found) takes nothing with it.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "tests/sim/simulation.h"

namespace skein::sim {

struct RunnerOptions {
  uint64_t first_seed = 1;
  uint64_t last_seed = 200;
  RunLimits limits;
  unsigned jobs = 1;
  uint64_t twice = 3;  // so many of the first seeds run twice, and must be alike
  FaultChoice faults;
  bool quiet = false;  // no progress
};

struct RunSummary {
  uint64_t seeds = 0;  // that ran to their end
  uint64_t steps = 0;
  uint64_t simulated_us = 0;
  double seconds = 0;  // of this machine
  Coverage coverage;
  bool interrupted = false;
  std::optional<uint64_t> failed_seed;  // the lowest that is known
  std::string violation;
};

// Stops at the first violation, or on Ctrl-C.
RunSummary RunSeeds(const RunnerOptions& options);

// Runs one seed again, in a process of its own, with the last lines of its trace, or all of them as
// they come, on stdout. Returns the violation; empty: none.
std::string TraceSeed(uint64_t seed, const RunnerOptions& options, bool live);

}  // namespace skein::sim
