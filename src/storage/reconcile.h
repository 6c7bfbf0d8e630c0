// What a start has to do so that log and state fit each other.
#pragma once

#include "absl/status/status.h"
#include "replication/core/recovery.h"
#include "storage/kv_state_machine.h"
#include "storage/rocks_log_store.h"

namespace skein {

// Once, when both are open and neither is started; `recovery` is what the log has returned.
// Completes an install that a crash has cut short between the exchange of the state and the reset
// of the log: the log begins with the snapshot then, durably, and `recovery` says so. Tells a state
// that has never met a change of the membership which one is in force. See docs/disk_format.md.
absl::Status ReconcileLogAndState(RocksLogStore* log, KvStateMachine* state, LogRecovery* recovery);

}  // namespace skein
