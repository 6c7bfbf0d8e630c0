// What a torture run did and saw, and the page about it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/integration/torture_checks.h"
#include "tests/integration/torture_faults.h"

namespace skein {

// Durations, of which one wants the middle and the end.
struct Durations {
  std::vector<double> ms;
  // Of all, `q` from 0 to 1, by nearest rank; 0 if there are none.
  double Quantile(double q) const;
};

// How long no write was acknowledged around a fault; see docs/reliability.md.
struct FaultTally {
  int tried = 0;
  Durations pauses;  // of rounds that had only this fault
};

struct TortureReport {
  uint64_t seed = 0;
  double seconds = 0;
  int rounds = 0;
  int clusters = 0;
  std::string cluster_sizes;  // `3, 5`
  std::array<FaultTally, kFaultKinds> faults;
  Durations alone;     // pauses of all rounds with one fault
  Durations together;  // the same, rounds with several
  Durations healed;    // from the end of the last fault to the next acknowledged write
  std::array<std::array<uint64_t, kOpOutcomes>, kOpKinds> operations{};
  uint64_t elections = 0;  // terms passed
  bool interrupted = false;
  std::vector<std::string> violations;
  std::string kept;  // folder with what a violation left

  void Count(const std::vector<OpRecord>& records);
  int KindsTried() const;
  uint64_t Operations() const;
  std::string Markdown() const;
};

// 1234567 as `1,234,567`.
std::string WithCommas(uint64_t number);

}  // namespace skein
