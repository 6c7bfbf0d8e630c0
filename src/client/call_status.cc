#include "client/call_status.h"

#include "client/codec.h"
#include "skein/v1/error.pb.h"

namespace skein::client {

absl::Status StatusOfCall(const grpc::Status& status, bool* from_node) {
  if (from_node != nullptr) *from_node = false;
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  v1::RichStatus rich;
  v1::ErrorDetail detail;
  if (rich.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& any : rich.details()) {
      if (!any.UnpackTo(&detail)) continue;
      if (from_node != nullptr) *from_node = true;
      return DecodeError(code, status.error_message(), detail);
    }
  }
  return absl::Status(code, status.error_message());
}

absl::Status NoCallInsideCallback() {
  return absl::FailedPreconditionError("a blocking call inside a callback would never return");
}

}  // namespace skein::client
