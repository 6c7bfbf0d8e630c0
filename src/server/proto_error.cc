#include "server/proto_error.h"

#include "common/error.h"

namespace skein {
namespace {

void FillDetail(const ErrorDetail& detail, v1::ErrorDetail* out) {
  out->set_reason(static_cast<v1::ErrorReason>(detail.reason));
  out->set_leader_id(detail.leader_id);
  out->set_leader_address(detail.leader_address);
  out->set_term(detail.term);
  out->set_maybe_applied(detail.maybe_applied);
  out->set_applied_revision(detail.applied_revision);
  out->set_hint(detail.hint);
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  v1::ErrorDetail detail;
  FillDetail(DetailOf(status), &detail);
  v1::RichStatus rich;
  rich.set_code(static_cast<int>(status.code()));
  rich.set_message(MessageOf(status));
  rich.add_details()->PackFrom(detail);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), MessageOf(status),
                      rich.SerializeAsString());
}

void FillError(const absl::Status& status, v1::Error* error) {
  error->set_code(static_cast<int>(status.code()));
  error->set_message(MessageOf(status));
  FillDetail(DetailOf(status), error->mutable_detail());
}

}  // namespace skein
