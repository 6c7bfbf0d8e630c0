// A seeded generator of pseudo-random numbers (R13): same seed, same numbers, on every machine.
#pragma once

#include <cstdint>
#include <string_view>

namespace skein {

class Random {
 public:
  explicit Random(uint64_t seed);

  // A seed that differs on every call, from the operating system.
  static uint64_t SeedFromSystem();

  uint64_t Next();
  // Uniform in [0, bound); bound > 0.
  uint64_t Below(uint64_t bound);
  // Uniform in [low, high]; low <= high.
  uint64_t Between(uint64_t low, uint64_t high);
  // True with probability p.
  bool Chance(double p);
  // A generator for one purpose. Draws from it do not shift the draws of the others.
  Random Fork(std::string_view purpose) const;

 private:
  uint64_t seed_;
  uint64_t state_[4];
};

}  // namespace skein
