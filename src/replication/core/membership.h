// Who belongs to the cluster.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common/types.h"

namespace skein {

struct Member {
  NodeId id;            // derived from the name, see NodeIdOf
  std::string name;     // `n1`
  std::string address;  // `host:port`, where peers and clients reach it
  bool voter = true;    // false: a learner

  friend bool operator==(const Member&, const Member&) = default;
};

struct Membership {
  std::vector<Member> members;  // sorted by id; ids and addresses are unique

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

  friend bool operator==(const Membership&, const Membership&) = default;
};

// The id of the node with this name: never 0.
NodeId NodeIdOf(const std::string& name);

std::string EncodeMembership(const Membership& membership);
bool DecodeMembership(std::string_view bytes, Membership* membership);

}  // namespace skein
