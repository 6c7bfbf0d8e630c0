#include "server/snapshot_pace.h"

#include <algorithm>

#include "storage/snapshot_file.h"

namespace skein {
namespace {

using std::chrono::steady_clock;

// After the last write. A state whose disk pauses meanwhile is not given more to do.
constexpr std::chrono::seconds kQuiet(5);
// Big parts are faster, and hold up for longer whoever needs the disk meanwhile.
constexpr uint64_t kPacedPartBytesMin = 4 << 10;
constexpr uint64_t kPacedPartBytes = 64 << 10;
constexpr uint64_t kPacedPartBytesMax = 256 << 10;

// At a low rate several a second, so that the receiver can tell how it gets on; at a high one no
// more than 512 a second, if they need not be larger than the largest.
uint64_t PartBytesAt(uint64_t rate, bool beside_writes) {
  if (rate == 0) return beside_writes ? kPacedPartBytesMax : kSnapshotPartBytesMax;
  const uint64_t most = std::clamp(rate / 512, kPacedPartBytes, kPacedPartBytesMax);
  return std::clamp(rate / 8, kPacedPartBytesMin, most);
}

}  // namespace

bool SnapshotPace::BesideWrites() {
  const steady_clock::time_point now = steady_clock::now();
  const Revision revision = state_->applied_revision();
  if (revision != revision_) {
    revision_ = revision;
    written_ = now;
  }
  return written_.has_value() && now - *written_ < kQuiet;
}

uint64_t SnapshotPace::BytesPerSecond(bool beside_writes) const {
  const uint64_t always = limits_.bytes_per_second;
  const uint64_t beside = limits_.bytes_per_second_beside_writes;
  if (beside == 0 || !beside_writes) return always;
  return always == 0 ? beside : std::min(always, beside);
}

void SnapshotPace::Look() {
  MutexLock lock(&mu_);
  BesideWrites();
}

uint64_t SnapshotPace::Take(uint64_t bytes_max) {
  MutexLock lock(&mu_);
  const bool beside_writes = BesideWrites();
  const uint64_t rate = BytesPerSecond(beside_writes);
  const uint64_t bytes = std::min(bytes_max, PartBytesAt(rate, beside_writes));
  if (rate != 0) {
    const steady_clock::time_point begin = std::max(steady_clock::now(), free_);
    free_ = begin + std::chrono::microseconds(bytes * 1'000'000 / rate);
    while (!stopped_ && steady_clock::now() < begin) stop_.WaitUntil(&mu_, begin);
  }
  return stopped_ ? 0 : bytes;
}

void SnapshotPace::Stop() {
  MutexLock lock(&mu_);
  stopped_ = true;
  stop_.SignalAll();
}

}  // namespace skein
