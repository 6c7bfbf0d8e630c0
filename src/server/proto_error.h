// Errors on the wire: absl::Status with its ErrorDetail, as gRPC status or as message of a
// pipeline.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "skein/v1/error.pb.h"
#include "skein/v1/kv.pb.h"

namespace skein {

// Carries the detail in the trailer `grpc-status-details-bin`.
grpc::Status ToGrpcStatus(const absl::Status& status);

void FillError(const absl::Status& status, v1::Error* error);

}  // namespace skein
