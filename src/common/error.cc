#include "common/error.h"

#include "absl/strings/cord.h"
#include "common/coding.h"

namespace skein {
namespace {

constexpr char kDetailUrl[] = "skein.dev/ErrorDetail";

}  // namespace

const char* ErrorReasonName(ErrorReason reason) {
  switch (reason) {
    case ErrorReason::kNone:
      return "ERROR_REASON_UNSPECIFIED";
    case ErrorReason::kInvalidField:
      return "INVALID_FIELD";
    case ErrorReason::kNotLeader:
      return "NOT_LEADER";
    case ErrorReason::kNoQuorum:
      return "NO_QUORUM";
    case ErrorReason::kOutcomeUnknown:
      return "OUTCOME_UNKNOWN";
    case ErrorReason::kBehind:
      return "BEHIND";
    case ErrorReason::kQueueFull:
      return "QUEUE_FULL";
    case ErrorReason::kDiskReserve:
      return "DISK_RESERVE";
    case ErrorReason::kStale:
      return "STALE";
    case ErrorReason::kDamagedData:
      return "DAMAGED_DATA";
    case ErrorReason::kShuttingDown:
      return "SHUTTING_DOWN";
    case ErrorReason::kPeerRefused:
      return "PEER_REFUSED";
    case ErrorReason::kDeadline:
      return "DEADLINE";
    case ErrorReason::kMembershipRefused:
      return "MEMBERSHIP_REFUSED";
  }
  return "ERROR_REASON_UNSPECIFIED";
}

absl::Status MakeError(absl::StatusCode code, const std::string& message,
                       const ErrorDetail& detail) {
  std::string bytes;
  PutVarint(&bytes, static_cast<uint64_t>(detail.reason));
  PutBytes(&bytes, detail.leader_id);
  PutBytes(&bytes, detail.leader_address);
  PutVarint(&bytes, detail.term);
  PutFixed8(&bytes, detail.maybe_applied ? 1 : 0);
  PutVarint(&bytes, detail.applied_revision);
  PutBytes(&bytes, detail.hint);
  absl::Status status(code, message);
  status.SetPayload(kDetailUrl, absl::Cord(bytes));
  return status;
}

ErrorDetail DetailOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kDetailUrl);
  if (!payload.has_value()) return {};
  const std::string bytes(*payload);
  Decoder decoder(bytes);
  ErrorDetail detail;
  detail.reason = static_cast<ErrorReason>(decoder.Varint());
  detail.leader_id = decoder.Bytes();
  detail.leader_address = decoder.Bytes();
  detail.term = decoder.Varint();
  detail.maybe_applied = decoder.Fixed8() != 0;
  detail.applied_revision = decoder.Varint();
  detail.hint = decoder.Bytes();
  return detail;
}

absl::Status InvalidField(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, message,
                   {.reason = ErrorReason::kInvalidField});
}

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

std::string MessageAndHintOf(const absl::Status& status) {
  const std::string hint = DetailOf(status).hint;
  return hint.empty() ? MessageOf(status) : MessageOf(status) + ". " + hint;
}

}  // namespace skein
