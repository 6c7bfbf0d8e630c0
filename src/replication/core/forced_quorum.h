// What a survivor of the loss of a majority writes to go on alone (R35).
#pragma once

#include "replication/core/event.h"
#include "replication/core/recovery.h"

namespace skein {

// Makes the node the only voter of its cluster, in the term that begins a new history; all that is
// in its log will be committed. `newest`: the newest membership that it knows, of which it is a
// member. The log owes nothing, and ends at what is applied or later.
LogWrite ForceQuorum(const LogRecovery& recovery, const Membership& newest, NodeId self,
                     uint64_t incarnation, uint64_t wall_ms);

}  // namespace skein
