// Errors that a program can act on without reading text: an absl::Status that carries an
// ErrorDetail. Mirrors skein.v1.ErrorDetail; docs/wire_protocol.md has the table of situations.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace skein {

// The numbers are those of skein.v1.ErrorReason.
enum class ErrorReason : int {
  kNone = 0,
  kInvalidField = 1,
  kNotLeader = 2,
  kNoQuorum = 3,
  kOutcomeUnknown = 4,
  kBehind = 5,
  kQueueFull = 6,
  kDiskReserve = 7,
  kStale = 8,
  kDamagedData = 9,
  kShuttingDown = 10,
  kPeerRefused = 11,
  kDeadline = 12,
  kMembershipRefused = 13,
};

// `NOT_LEADER` and so on, as in the protocol.
const char* ErrorReasonName(ErrorReason reason);

struct ErrorDetail {
  ErrorReason reason = ErrorReason::kNone;
  std::string leader_id;       // empty: unknown
  std::string leader_address;  // empty: unknown
  uint64_t term = 0;
  bool maybe_applied = false;     // the command may have taken, or may yet take, effect
  uint64_t applied_revision = 0;  // how far the answering node is
  std::string hint;               // what to do, one sentence
};

absl::Status MakeError(absl::StatusCode code, const std::string& message,
                       const ErrorDetail& detail);

// The detail of a status; reason kNone if it has none.
ErrorDetail DetailOf(const absl::Status& status);

// Shorthand for the commonest refusals, each certainly without effect.
absl::Status InvalidField(const std::string& message);

// The message of a status as a std::string.
std::string MessageOf(const absl::Status& status);

// The same for an operator: with the hint that says what to do, if there is one.
std::string MessageAndHintOf(const absl::Status& status);

}  // namespace skein
