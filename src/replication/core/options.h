// The settings of the protocol.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "replication/core/protocol_version.h"

namespace skein {

struct CoreOptions {
  // The newest version of the protocol that this node speaks.
  uint32_t protocol_version = kProtocolVersion;
  // One tick, in milliseconds; only for messages to people, the core counts ticks.
  uint64_t tick_ms = 10;
  // A leader sends heartbeats this often.
  uint64_t heartbeat_ticks = 5;
  // A follower that hears no leader for a random time in this range campaigns. The lower end is
  // also how long a live leader protects itself from other candidates (R9).
  uint64_t election_ticks_min = 50;
  uint64_t election_ticks_max = 100;
  // A leader whose oldest log write is pending for longer gives up (R12).
  uint64_t stall_ticks = 200;
  // Entries in one append message, in bytes (R18). A single larger entry still travels.
  uint64_t append_bytes_max = 1 << 20;
  // Unacknowledged entries on the way to one follower, in bytes (R18).
  uint64_t window_bytes_max = 8 << 20;
  // Entries of the leader that are not committed; beyond it commands are refused (R19).
  uint64_t uncommitted_bytes_max = 64 << 20;
  // Entries handed to the state machine and not yet applied.
  uint64_t applying_bytes_max = 16 << 20;
  // Committed entries kept in memory for followers; older ones are read from the log (R19).
  uint64_t memory_bytes_max = 32 << 20;

  // Linearizable reads that wait, for proof of leadership or for the leader's answer (R19).
  uint64_t reads_waiting_max = 65'536;

  // The log is kept for members that do not have it yet up to so many bytes; who needs more gets a
  // snapshot (R20).
  uint64_t log_retention_bytes = uint64_t{1} << 30;
  // The log store is asked to trim in steps of at least so many entries, or of a small part of
  // `log_retention_bytes`, whichever comes first.
  uint64_t trim_step_entries = 1000;
  // A learner that lacks more entries than this, or about as many bytes, is not promoted (R24), nor
  // is leadership handed to such a voter (R28). The bytes should be more than
  // `uncommitted_bytes_max`: that much may be under way to who keeps up.
  uint64_t level_entries_max = 256;
  uint64_t level_bytes_max = 128 << 20;
  // A member that is silent about its snapshot for longer is offered another. Should be longer than
  // an election.
  uint64_t snapshot_silence_ticks = 1000;

  // OK, or which value contradicts which.
  absl::Status Validate() const;
};

}  // namespace skein
