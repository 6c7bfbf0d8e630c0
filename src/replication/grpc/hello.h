// Who may talk to whom (R27). Each stream between nodes opens with a Hello in both directions, and
// both ends put what they hear to the same gate.
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

namespace skein {

inline constexpr uint32_t kPeerProtocolVersion = 1;

// What a node states of itself.
struct PeerIdentity {
  uint64_t cluster_id = 0;
  NodeId node;
  std::string name;
  uint64_t incarnation = 0;  // of the data directory, random
  uint32_t protocol_version = kPeerProtocolVersion;
};

struct Hello {
  PeerIdentity sender;
  NodeId to;  // whom the sender believes to be talking to
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

// Whether the incarnation in a hello is the one that this node knows of its sender. Called from any
// thread; must not block.
using IncarnationCheck = std::function<absl::Status(const Hello& hello)>;

// Thread-safe.
class HelloGate {
 public:
  // No `check`: every incarnation is let in.
  HelloGate(PeerIdentity self, IncarnationCheck check);

  const PeerIdentity& self() const { return self_; }
  // What to say when calling `peer`.
  Hello HelloTo(NodeId peer) const { return {self_, peer}; }

  void SetPeers(std::vector<PeerAddress> peers) ABSL_LOCKS_EXCLUDED(mu_);

  // kFailedPrecondition, with words for an operator, if the sender must not talk to this node.
  absl::Status Check(const Hello& hello) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  bool IsPeer(NodeId id) const ABSL_LOCKS_EXCLUDED(mu_);

  const PeerIdentity self_;
  const IncarnationCheck check_;
  mutable Mutex mu_;
  std::vector<PeerAddress> peers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
