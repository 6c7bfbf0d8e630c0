// What may change about who belongs to the cluster: one thing at a time (R22). Pure.
#pragma once

#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "replication/core/membership.h"

namespace skein {

// A new member, which only learns: it counts for no quorum (R24).
struct AddLearner {
  NodeId id;
  std::string name;
  std::string address;
  bool promote_when_level = false;
  bool never_votes = false;
  NodeId upstream;  // 0: none
};

// A learner becomes a voter.
struct PromoteMember {
  NodeId id;
};

struct RemoveMember {
  NodeId id;
  bool force = false;  // though the rest cannot form a quorum of nodes that are reachable (R25)
};

struct MoveMember {
  NodeId id;
  std::string address;
};

// The data directory that a member has shown; it shows the same one from now on (R26).
struct RecordIncarnation {
  NodeId id;
  uint64_t incarnation = 0;
};

// From whom a member takes what need not come from the leader (R36).
struct SetUpstream {
  NodeId id;
  NodeId upstream;  // 0: none
};

using MembershipChange = std::variant<AddLearner, PromoteMember, RemoveMember, MoveMember,
                                      RecordIncarnation, SetUpstream>;

// The membership after the change. kNotFound: no such member. kAlreadyExists: it is so already, or
// the name or address is taken. kFailedPrecondition: what is left would be no cluster.
absl::StatusOr<Membership> ChangeMembership(const Membership& now, const MembershipChange& change);

// For the log and for people: `n4 is added as a learner at 10.0.0.4:7411`.
std::string Describe(const Membership& now, const MembershipChange& change);

// Who a sender of messages says it is.
struct SenderClaim {
  NodeId id;
  std::string name;
  uint64_t incarnation = 0;
  Index membership_index;  // of the newest membership that it knows
  uint32_t protocol_version = kProtocolVersion;
};

// Why a node that goes by `mine` must not talk with the sender (R26, R27); empty: it may. Both ends
// of a connection ask. Who speaks no version that a membership needs is refused. Who knows a newer
// membership may be a member in that, or have been removed and added again; a node that was wiped
// knows none. A leader leads until its own removal is committed.
std::string RefuseSender(const MembershipsInForce& mine, const SenderClaim& sender);

}  // namespace skein
