// How fast a node sends snapshots: as fast as they are taken if it applies no writes, and slower
// beside them, since they share its processor and disk, and perhaps the receiver's. Reads do not
// count.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "server/snapshot_limits.h"
#include "storage/kv_state_machine.h"

namespace skein {

// Thread-safe: shared by all snapshots that are sent at the same time.
class SnapshotPace {
 public:
  // `state` outlives it.
  SnapshotPace(const SnapshotLimits& limits, const KvStateMachine* state)
      : limits_(limits), state_(state), revision_(state->applied_revision()) {}

  // Whether there are writes. To be called every now and then, also while nothing is sent.
  void Look() ABSL_LOCKS_EXCLUDED(mu_);

  // Waits until the next part may go, and says how long it is, at most `bytes_max`, which is above
  // 0. Beside writes it is a small one, which the receiver brings to the disk before it takes the
  // next. 0: stopped.
  uint64_t Take(uint64_t bytes_max) ABSL_LOCKS_EXCLUDED(mu_);

  // Nobody waits any more.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Looks whether there are writes.
  bool BesideWrites() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // 0: no limit.
  uint64_t BytesPerSecond(bool beside_writes) const;

  const SnapshotLimits limits_;
  const KvStateMachine* const state_;
  Mutex mu_;
  CondVar stop_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::chrono::steady_clock::time_point free_ ABSL_GUARDED_BY(mu_);  // when the last bytes are gone
  // The newest write that was seen, and when; no time: none was seen yet.
  Revision revision_ ABSL_GUARDED_BY(mu_);
  std::optional<std::chrono::steady_clock::time_point> written_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
