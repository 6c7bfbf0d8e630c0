// A caller's writes, on their way through the log.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "common/types.h"

namespace skein {

// When a write is answered. The numbers are those of skein.v1.AckLevel.
enum class AckLevel : uint8_t {
  kLeader = 1,  // durable on the leader
  kQuorum = 2,  // committed
  kAll = 3,     // applied on every voter, or the wait is over
};

// R6: there are three outcomes, and a refusal before the log says why.
enum class Outcome : uint8_t {
  kOk = 0,
  kRejected = 1,   // appended, but another term's entry took its place: certainly never applied
  kUnknown = 2,    // appended, and may or may not be applied
  kNotLeader = 3,  // not appended
  kNoQuorum = 4,   // not appended: too few voters can be reached
  kQueueFull = 5,  // not appended
  kStopping = 6,   // not appended
};

struct ProposalResult {
  Outcome outcome = Outcome::kUnknown;
  Revision first_revision;  // of the first command; the others follow densely
  AckLevel reached = AckLevel::kQuorum;
  std::vector<Revision> deleted;  // revisions of the deletes that found their key
};

// A run of commands that take consecutive revisions and are answered together.
struct Proposal {
  std::string payload;  // see replication/command.h
  uint32_t command_count = 0;
  bool wants_outcomes = false;  // holds deletes: the answer needs the state machine
  AckLevel level = AckLevel::kQuorum;
  uint64_t all_deadline_us = 0;  // kAll: answer with kQuorum from this monotonic time on
  uint64_t deadline_us = 0;      // answer kUnknown from this monotonic time on
  uint64_t queued_us = 0;        // the replica's: since when it waits to become an entry
  // Called once, from the replica's thread. Must not block.
  absl::AnyInvocable<void(ProposalResult)> done;
};

}  // namespace skein
