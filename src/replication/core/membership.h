// Who belongs to the cluster.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common/types.h"
#include "replication/core/protocol_version.h"

namespace skein {

struct Member {
  NodeId id;            // derived from the name, see NodeIdOf
  std::string name;     // `n1`
  std::string address;  // `host:port`, where peers and clients reach it
  bool voter = true;    // false: a learner
  // Of its data directory, as the cluster saw it first; 0: not seen yet (R26).
  uint64_t incarnation = 0;
  // A learner that the leader promotes by itself once it is level.
  bool promote_when_level = false;
  // A learner for good: a read replica.
  bool never_votes = false;
  // The member from which it takes what need not come from the leader (R36); 0: none.
  NodeId upstream;

  friend bool operator==(const Member&, const Member&) = default;
};

struct Membership {
  std::vector<Member> members;  // sorted by id; ids and addresses are unique
  // The protocol version that members must speak (R27). It never falls: older entries stay in the
  // log for a while.
  uint32_t required_version = kOldestProtocolVersion;

  const Member* Find(NodeId id) const {
    for (const Member& member : members) {
      if (member.id == id) return &member;
    }
    return nullptr;
  }
  bool IsVoter(NodeId id) const {
    const Member* member = Find(id);
    return member != nullptr && member->voter;
  }
  std::string NameOf(NodeId id) const {
    const Member* member = Find(id);
    return member != nullptr ? member->name : "node-" + std::to_string(id.value());
  }
  size_t VoterCount() const {
    return static_cast<size_t>(
        std::count_if(members.begin(), members.end(), [](const Member& m) { return m.voter; }));
  }
  size_t QuorumSize() const { return VoterCount() / 2 + 1; }
  // The same, with what these members need of it.
  uint32_t RequiredVersion() const {
    const bool newer = std::any_of(members.begin(), members.end(), [](const Member& m) {
      return m.never_votes || m.upstream != NodeId();
    });
    return std::max(required_version, newer ? kUpstreamsVersion : kOldestProtocolVersion);
  }

  friend bool operator==(const Membership&, const Membership&) = default;
};

// The membership that an entry of the log has put in force, or that the log began with.
struct MembershipAt {
  Index index;  // of the entry; where the log began for the first one
  Membership membership;

  friend bool operator==(const MembershipAt&, const MembershipAt&) = default;
};

// What a node goes by: the newest in its log (R23), and the newest of which it knows that it is
// committed; the same one most of the time.
struct MembershipsInForce {
  MembershipAt committed;
  MembershipAt newest;

  // As the newest has it; else as the committed one has it. Null: no member.
  const Member* Find(NodeId id) const {
    const Member* member = newest.membership.Find(id);
    return member != nullptr ? member : committed.membership.Find(id);
  }
  bool IsMember(NodeId id) const { return Find(id) != nullptr; }
  friend bool operator==(const MembershipsInForce&, const MembershipsInForce&) = default;
};

// The id of the node with this name: never 0.
NodeId NodeIdOf(const std::string& name);

// Format: docs/disk_format.md.
std::string EncodeMembership(const Membership& membership);
bool DecodeMembership(std::string_view bytes, Membership* membership);

}  // namespace skein
