#include "common/random.h"

#include <random>

#include "common/check.h"
#include "common/checksum.h"

namespace skein {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): spreads a seed over the state.
uint64_t SplitMix(uint64_t* x) {
  uint64_t z = (*x += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t RotateLeft(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

}  // namespace

Random::Random(uint64_t seed) : seed_(seed) {
  for (uint64_t& word : state_) word = SplitMix(&seed);
}

uint64_t Random::SeedFromSystem() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

// xoshiro256** (Blackman, Vigna 2018).
uint64_t Random::Next() {
  const uint64_t result = RotateLeft(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = RotateLeft(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t bound) {
  SKEIN_CHECK(bound > 0);
  return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
}

uint64_t Random::Between(uint64_t low, uint64_t high) {
  SKEIN_CHECK(low <= high);
  return low + Below(high - low + 1);
}

bool Random::Chance(double p) { return static_cast<double>(Next() >> 11) * 0x1.0p-53 < p; }

Random Random::Fork(std::string_view purpose) const {
  return Random(ChainHash(seed_, Checksum64(purpose)));
}

}  // namespace skein
