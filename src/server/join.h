// How a node with an empty data directory learns which cluster it belongs to: from nodes that are
// in it. An operator has added it there before.
#pragma once

#include "absl/status/statusor.h"
#include "replication/core/membership.h"
#include "server/node_options.h"

namespace skein {

struct ClusterTold {
  std::string token;
  uint64_t history = 0;  // see Identity
  Index index;           // of the membership, where it was asked for
  Membership membership;
};

// Asks the addresses of `options.join` for the members until one of them knows this node, at most
// for as long as the options say. `incarnation`: of this node's data directory; 0: it has none yet.
// kFailedPrecondition, with what to do: this node is no member, is reached elsewhere, or has shown
// another data directory before. kUnavailable: nobody answers. Blocks; says in the log what it
// waits for.
absl::StatusOr<ClusterTold> AskForCluster(const NodeOptions& options, uint64_t incarnation,
                                          Logger* logger);

}  // namespace skein
