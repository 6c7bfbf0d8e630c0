// Everything that can happen to a replica.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "replication/core/log_base.h"
#include "replication/core/message.h"
#include "replication/core/protocol_version.h"

namespace skein {

// What the protocol must remember over a restart. Written with the log, atomically.
struct HardState {
  Term term;
  NodeId vote;  // whom this node voted for in `term`; 0: nobody
  Index
      commit;  // a hint, brought along with other writes: the log was committed at least up to here

  friend bool operator==(const HardState&, const HardState&) = default;
};

// One atomic, durable write to the log: first the reset or the truncation, then the entries.
struct LogWrite {
  uint64_t id = 0;  // rising by one; completions name it
  std::optional<HardState> hard_state;
  std::optional<LogBase> reset;        // all entries go, the log goes on after this point
  std::optional<Index> truncate_from;  // this and all later entries go
  std::vector<EntryPtr> entries;       // dense, following what is left
};

// Read entries that are no longer in memory: from `first`, at least two if there are as many, then
// while they fit.
struct LogRead {
  uint64_t id = 0;
  Index first;
  size_t bytes_max = 0;
};

// 10 ms, by default, have passed and this node was able to notice.
struct Tick {};

// A message came in; `received_us` is this node's monotonic clock.
struct Received {
  Message message;
  uint64_t received_us = 0;
};

// LogWrite `id`, and all before it, are durable.
struct Persisted {
  uint64_t id = 0;
};

// The answer to a LogRead.
struct LogReadDone {
  uint64_t id = 0;
  std::vector<EntryPtr> entries;  // consecutive from the index asked for
};

// What became of one command that has more to tell than its revision.
struct CommandOutcome {
  Revision revision;
  bool existed = false;  // a delete found its key
};

// The state machine shows everything up to `index`.
struct Applied {
  Index index;
  Revision revision;
  std::vector<CommandOutcome> outcomes;  // of deletes, in revision order
};

// The state machine would come back with everything up to `index` after a crash.
struct StateDurable {
  Index index;
};

// Fetch a snapshot that holds at least everything up to `at_least` from another node, in place of
// whatever is being fetched.
struct SnapshotFetch {
  uint64_t id = 0;  // rising; events name it
  NodeId source;
  std::string source_address;
  Index at_least;
};

// How far the fetch is. Told every second or so as long as the source gives signs of life.
struct SnapshotFetching {
  uint64_t id = 0;
  Index index;  // of the snapshot; 0: not known yet
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
};

// The fetch is over: the snapshot `base` is on this node's disk, whole and verified; or why not.
struct SnapshotFetched {
  uint64_t id = 0;
  absl::StatusOr<LogBase> base = absl::UnavailableError("not fetched");
};

// The state machine now holds the fetched snapshot, durably; or, if that was not possible, still
// the old state.
struct Installed {
  absl::StatusOr<LogBase> base = absl::UnavailableError("not installed");
};

// A stream to the peer stands, its hello was accepted.
struct LinkUp {
  NodeId peer;
  uint32_t version = kProtocolVersion;  // the newest that the peer speaks
};

// The stream to the peer broke. `refused`: nobody listens there any more (R11).
struct LinkDown {
  NodeId peer;
  bool refused = false;
};

// A log write, a log read or an apply failed: the node must stop (R7).
struct StorageFailed {
  absl::Status status;
};

using Event =
    std::variant<Tick, Received, Persisted, LogReadDone, Applied, StateDurable, SnapshotFetching,
                 SnapshotFetched, Installed, LinkUp, LinkDown, StorageFailed>;

}  // namespace skein
