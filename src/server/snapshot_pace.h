// How fast a node sends snapshots: as fast as they are taken if it has nothing else to do, and
// slower beside writes, which share its processor and disk, and perhaps the receiver's.
#pragma once

#include <chrono>
#include <cstdint>

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
      : limits_(limits), state_(state) {}

  // How much is to be sent in one piece now. The receiver brings each to the disk before it takes
  // the next.
  uint64_t PartBytes() ABSL_LOCKS_EXCLUDED(mu_);

  // Waits until so many bytes may go. False: stopped.
  bool Take(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_);

  // Nobody waits any more.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // 0: no limit.
  uint64_t BytesPerSecond() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const SnapshotLimits limits_;
  const KvStateMachine* const state_;
  Mutex mu_;
  CondVar stop_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::chrono::steady_clock::time_point free_ ABSL_GUARDED_BY(mu_);  // when the last bytes are gone
  // The newest write that was seen, and when.
  Revision revision_ ABSL_GUARDED_BY(mu_);
  std::chrono::steady_clock::time_point written_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
