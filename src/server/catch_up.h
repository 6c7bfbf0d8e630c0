// How fast the members that are behind come closer, as the leader sees it. Use from the loop's
// thread.
#pragma once

#include <map>
#include <optional>

#include "common/clock.h"
#include "replication/replica.h"

namespace skein {

struct CatchUp {
  enum class Way : uint8_t {
    kLog,       // entries are sent
    kSnapshot,  // it fetches a snapshot
    kInstall,   // it has fetched one, and puts it in place
  };

  Way way = Way::kLog;
  uint64_t bytes_done = 0;  // of the snapshot
  uint64_t bytes_left = 0;
  uint64_t bytes_per_second = 0;  // by which bytes_left falls, smoothed; 0: not known
  NodeId source;                  // of the snapshot
};

class CatchUpWatch {
 public:
  explicit CatchUpWatch(const Clock* clock) : clock_(clock) {}

  // Whenever the replica has performed; measures now and then.
  void AfterPerform(const Replica& replica);

  // nullopt: it is level, or this node does not lead.
  std::optional<CatchUp> Of(const Replica& replica, NodeId member) const;

 private:
  struct Sample {
    CatchUp at;
    uint64_t at_us = 0;
    double bytes_per_second = 0;
  };

  std::optional<CatchUp> Measure(const Replica& replica, NodeId member) const;

  const Clock* const clock_;
  uint64_t next_us_ = 0;
  std::map<NodeId, Sample> samples_;  // of those who are behind
};

}  // namespace skein
