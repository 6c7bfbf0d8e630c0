// The outcome of a gRPC call as an absl::Status.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace skein::client {

// With the detail that the trailer carries, if there is one. Every error that a node sends has
// one, so *from_node (may be null) tells those from the trouble of the connection.
absl::Status StatusOfCall(const grpc::Status& status, bool* from_node = nullptr);

// What a blocking call answers inside a callback.
absl::Status NoCallInsideCallback();

}  // namespace skein::client
