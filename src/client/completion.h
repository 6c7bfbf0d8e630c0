// The last step of a call: its answer as the result that the caller is promised, handed to the
// callback. On the dispatcher's thread.
#pragma once

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "client/operation.h"

namespace skein::v1 {
class Response;
class NodeState;
}  // namespace skein::v1

namespace skein::client {

// `raise_token` is given the revision that the client has now seen, before the callback runs. The
// content of `response` is moved from.
void Complete(std::unique_ptr<Operation> operation, v1::Response* response,
              const v1::NodeState& node, absl::FunctionRef<void(uint64_t)> raise_token);

void Fail(std::unique_ptr<Operation> operation, const absl::Status& status);

}  // namespace skein::client
