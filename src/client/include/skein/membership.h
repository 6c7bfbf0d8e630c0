// What operators ask about the members of a cluster, and what they are told.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace skein {

struct ClusterMember {
  std::string id;
  std::string address;
  bool voter = true;                // false: a learner, which counts for no quorum
  bool promote_when_level = false;  // a learner that becomes a voter by itself
  std::string incarnation;          // of its data directory, hexadecimal; empty: not seen yet
  bool never_votes = false;         // a learner for good
  std::string upstream_id;          // takes from it what need not come from the leader; empty: none
};

// Who belongs to the cluster, as one node knows.
struct ClusterMembers {
  std::string told_by;  // id of the node
  std::string cluster_id;
  std::string cluster_token;
  uint64_t index = 0;                  // of the log entry that made it so; 0: as the cluster began
  bool committed = false;              // false: a change is under way, and may yet be undone
  std::vector<ClusterMember> members;  // sorted by id

  const ClusterMember* Find(const std::string& id) const {
    for (const ClusterMember& member : members) {
      if (member.id == id) return &member;
    }
    return nullptr;
  }
};

struct AddMemberOptions {
  // Becomes a voter as soon as it is level; otherwise it stays a learner until PromoteMember.
  bool promote_when_level = false;
  // It stays a learner for good; not together with promote_when_level.
  bool never_votes = false;
  // The member from which it takes what need not come from the leader; empty: none.
  std::string upstream_id;
  std::chrono::milliseconds deadline{0};  // 0: the client's
};

struct RemoveMemberOptions {
  // Though those who are left cannot form a quorum of nodes that can be reached now.
  bool force = false;
  std::chrono::milliseconds deadline{0};  // 0: the client's
};

struct LeadershipTransfer {
  std::string leader_id;  // who leads now
  uint64_t term = 0;
  uint64_t pause_us = 0;  // how long the old leader took no writes
};

}  // namespace skein
