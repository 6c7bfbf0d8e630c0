// Who may talk to whom (R26, R27, R35). Each stream between nodes opens with a Hello in both
// directions, and both ends put what they hear to the same gate.
//
// Invariants:
//  1. A refusal names both values and says what to do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "common/types.h"
#include "replication/core/membership.h"
#include "replication/core/protocol_version.h"

namespace skein {

// What a node states of itself.
struct PeerIdentity {
  uint64_t cluster_id = 0;
  NodeId node;
  std::string name;
  uint64_t incarnation = 0;  // of the data directory, random
  // The newest and the oldest that it speaks.
  uint32_t protocol_version = kProtocolVersion;
  uint32_t oldest_protocol_version = kOldestProtocolVersion;
  uint64_t history = 0;  // part of the cluster id, see ClusterIdOf
};

struct Hello {
  PeerIdentity sender;
  NodeId to;               // whom the sender believes to be talking to
  Index membership_index;  // of the newest membership that the sender knows
  std::string address;     // where the sender is reached
};

// Another node of the cluster.
struct PeerAddress {
  NodeId id;
  std::string name;
  std::string address;  // `host:port`

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

// One line for the log of the node. Called from any thread; must not block.
using PeerNotice = std::function<void(std::string)>;

// Whether the incarnation in a hello is the one that this node has seen of its sender, a member
// whose incarnation the membership does not have yet. Called from any thread.
using IncarnationCheck = std::function<absl::Status(const Hello& hello)>;

// Thread-safe.
class HelloGate {
 public:
  // `address`: where this node is reached, unless a membership says otherwise. No `check`: every
  // incarnation is let in. There are no members yet.
  HelloGate(PeerIdentity self, std::string address, IncarnationCheck check);

  const PeerIdentity& self() const { return self_; }
  // What to say when calling `peer`.
  Hello HelloTo(NodeId peer) const ABSL_LOCKS_EXCLUDED(mu_);

  // What this node goes by from now on.
  void SetMemberships(MembershipsInForce memberships) ABSL_LOCKS_EXCLUDED(mu_);

  // kFailedPrecondition, with words for an operator, if the sender must not talk to this node.
  absl::Status Check(const Hello& hello) const ABSL_LOCKS_EXCLUDED(mu_);
  // The same, as far as the memberships decide it. Does not block.
  absl::Status CheckMember(const Hello& hello) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Status RefuseCluster(const PeerIdentity& sender) const;
  // From a member whose incarnation the membership does not have, as far as the sender knows, too.
  bool IsUnseen(const Hello& hello) const ABSL_LOCKS_EXCLUDED(mu_);

  const PeerIdentity self_;
  const std::string address_;
  const IncarnationCheck check_;
  mutable Mutex mu_;
  MembershipsInForce memberships_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
