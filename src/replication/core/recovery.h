// What a node finds on its disk when it starts.
#pragma once

#include <vector>

#include "replication/core/event.h"
#include "replication/core/log_base.h"

namespace skein {

// What a log holds when it is opened.
struct LogRecovery {
  LogBase base;
  // Of the retained entries that change it, in order, committed or not (R23).
  std::vector<MembershipAt> memberships;
  HardState hard_state;
  LogPoint last;  // == base.point if there are no entries
  // The retained entries after max(base, hard_state.commit), and the point before the first of
  // them. Earlier ones are read when needed.
  LogPoint tail_base;
  std::vector<EntryPtr> tail;
  // This node has once acknowledged everything up to here. Above `last`: the log is damaged, and
  // the node must not vote with it until it has been brought up to here again.
  Index acknowledged;
  // Bytes of the retained entries up to tail_base, about.
  uint64_t earlier_bytes = 0;
};

}  // namespace skein
