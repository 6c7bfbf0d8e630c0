// When recent entries passed the stages of replication on this node: the raw material of the lag
// benchmark. A bounded ring.
#pragma once

#include <deque>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "replication/observer.h"

namespace skein {

struct StageTimes {
  Index index;
  Revision first_revision;
  Revision last_revision;
  uint64_t bytes = 0;
  uint64_t at_us[4] = {0, 0, 0, 0};  // by Stage, monotonic clock; 0: not seen
};

// Fed from the loop's thread, read from any.
class StageTrace {
 public:
  explicit StageTrace(const Clock* clock, size_t entries_max = 16384)
      : clock_(clock), entries_max_(entries_max) {}

  void OnAppended(const std::vector<EntryPtr>& entries);
  void OnStage(Stage stage, Index index);
  // Entries whose last revision is above `after`, in index order.
  std::vector<StageTimes> After(Revision after) const;

 private:
  const Clock* const clock_;
  const size_t entries_max_;
  mutable Mutex mu_;
  std::deque<StageTimes> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
