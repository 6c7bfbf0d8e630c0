#include "cli/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace skein::cli {

int Histogram::BucketOf(uint64_t value) {
  if (value < kSubCount) return static_cast<int>(value);
  const int exponent = std::bit_width(value) - 1;  // >= kSubBits
  if (exponent >= kMaxExponent) return kBuckets - 1;
  const int shift = exponent - kSubBits;
  const int sub = static_cast<int>(value >> shift) - kSubCount;
  return (shift + 1) * kSubCount + sub;
}

uint64_t Histogram::HighestIn(int bucket) {
  if (bucket < kSubCount) return static_cast<uint64_t>(bucket);
  const int shift = bucket / kSubCount - 1;
  const uint64_t sub = static_cast<uint64_t>(bucket % kSubCount + kSubCount);
  return ((sub + 1) << shift) - 1;
}

void Histogram::Record(uint64_t value) {
  ++counts_[static_cast<size_t>(BucketOf(value))];
  ++count_;
  max_ = std::max(max_, value);
  min_ = std::min(min_, value);
  sum_ += static_cast<double>(value);
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
  min_ = std::min(min_, other.min_);
  sum_ += other.sum_;
}

double Histogram::mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

uint64_t Histogram::Percentile(double percent) const {
  if (count_ == 0) return 0;
  const double exact = std::ceil(static_cast<double>(count_) * percent / 100.0);
  const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(exact), 1, count_);
  uint64_t seen = 0;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    seen += counts_[static_cast<size_t>(bucket)];
    if (seen < rank) continue;
    return bucket == kBuckets - 1 ? max_ : std::min(HighestIn(bucket), max_);
  }
  return max_;
}

}  // namespace skein::cli
