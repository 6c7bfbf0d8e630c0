// The calls that do not travel in the pipeline: scans, and asking nodes for their status or
// trace. They block the calling thread, each on a completion queue of its own.
#pragma once

#include <chrono>
#include <functional>

#include "absl/status/statusor.h"
#include "client/channels.h"
#include "client/dispatcher.h"
#include "skein/options.h"
#include "skein/results.h"

namespace skein::client {

// See Client::Scan. With `count_only`, `visit` may be null.
absl::StatusOr<ScanResult> Scan(Dispatcher* dispatcher, ChannelPool* channels,
                                const ScanOptions& options, bool count_only,
                                const std::function<bool(KeyValue)>& visit);

// See Client::Status.
absl::StatusOr<ClusterStatus> AskEveryNode(Dispatcher* dispatcher, ChannelPool* channels,
                                           std::chrono::milliseconds timeout);

// The address of the leader, as all the nodes tell it now; without one, of the node that has seen
// the newest members. What the dispatcher believes may be a second old.
absl::StatusOr<std::string> FindWhoKnowsTheMembers(Dispatcher* dispatcher, ChannelPool* channels,
                                                   std::chrono::milliseconds timeout);

// See Client::Trace.
absl::StatusOr<NodeTrace> AskTrace(Dispatcher* dispatcher, ChannelPool* channels,
                                   const std::string& address, uint64_t after_revision,
                                   std::chrono::milliseconds timeout);

}  // namespace skein::client
