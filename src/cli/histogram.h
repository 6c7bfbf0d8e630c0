// A log-linear histogram of latencies: exact below 128, then 128 steps for each power of two, so
// that a percentile is at most 1/128 too high. Recording costs a few instructions; histograms of
// several threads are merged, never averaged. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>

namespace skein::cli {

class Histogram {
 public:
  void Record(uint64_t value);
  void Merge(const Histogram& other);

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }
  uint64_t min() const { return count_ == 0 ? 0 : min_; }
  double mean() const;
  // The smallest recorded bound below or at which `percent` of the values lie; 0 when empty.
  uint64_t Percentile(double percent) const;

 private:
  static constexpr int kSubBits = 7;
  static constexpr int kSubCount = 1 << kSubBits;
  static constexpr int kMaxExponent = 40;  // values from 2^40 on share the last bucket
  static constexpr int kBuckets = (kMaxExponent - kSubBits + 1) * kSubCount;

  static int BucketOf(uint64_t value);
  static uint64_t HighestIn(int bucket);

  std::array<uint64_t, kBuckets> counts_{};
  uint64_t count_ = 0;
  uint64_t max_ = 0;
  uint64_t min_ = UINT64_MAX;
  double sum_ = 0;
};

}  // namespace skein::cli
