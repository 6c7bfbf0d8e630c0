#include "replication/core/membership_change.h"

#include <algorithm>

#include "common/planted_bug.h"

namespace skein {
namespace {

absl::Status Taken(const Membership& now, NodeId id, const std::string& address) {
  for (const Member& member : now.members) {
    if (member.id != id && member.address == address && !SKEIN_PLANTED("address-taken-twice")) {
      return absl::AlreadyExistsError(address + " is the address of " + member.name);
    }
  }
  return absl::OkStatus();
}

// Whether `id` would take from itself in the end.
bool IsCycle(const Membership& membership, NodeId id) {
  const Member* at = membership.Find(id);
  for (size_t steps = 0; steps <= membership.members.size(); ++steps) {
    if (at == nullptr || at->upstream == NodeId()) return false;
    at = membership.Find(at->upstream);
  }
  return true;
}

struct Changer {
  Membership next;

  absl::StatusOr<Member*> Find(NodeId id) {
    for (Member& member : next.members) {
      if (member.id == id) return &member;
    }
    return absl::NotFoundError("there is no such member; `skein member list` shows who there is");
  }

  // Once `member` has its upstream.
  absl::Status CheckUpstream(const Member& member) const {
    if (member.upstream == NodeId()) return absl::OkStatus();
    const Member* upstream = next.Find(member.upstream);
    if (upstream == nullptr) {
      return absl::NotFoundError(
          "the upstream is no member; `skein member list` shows who there is");
    }
    if (upstream->id == member.id) {
      return absl::FailedPreconditionError(member.name + " cannot be its own upstream");
    }
    if (!IsCycle(next, member.id)) return absl::OkStatus();
    return absl::FailedPreconditionError(upstream->name + " takes from " + member.name +
                                         ", directly or through others: they would go in a circle");
  }

  absl::Status operator()(const AddLearner& change) {
    const NodeId id = change.id;
    if (const Member* old = next.Find(id); old != nullptr) {
      return absl::AlreadyExistsError(old->name + " is a member already, at " + old->address);
    }
    if (absl::Status taken = Taken(next, id, change.address); !taken.ok()) return taken;
    if (change.never_votes && change.promote_when_level) {
      return absl::FailedPreconditionError(change.name + " cannot both be promoted and never vote");
    }
    Member member{id, change.name, change.address, /*voter=*/false};
    member.promote_when_level = change.promote_when_level;
    member.never_votes = change.never_votes;
    member.upstream = change.upstream;
    if (absl::Status status = CheckUpstream(member); !status.ok()) return status;
    const auto place = std::find_if(next.members.begin(), next.members.end(),
                                    [id](const Member& other) { return other.id > id; });
    next.members.insert(place, std::move(member));
    return absl::OkStatus();
  }

  absl::Status operator()(const PromoteMember& change) {
    const absl::StatusOr<Member*> member = Find(change.id);
    if (!member.ok()) return member.status();
    if ((*member)->voter) return absl::AlreadyExistsError((*member)->name + " is a voter already");
    if ((*member)->never_votes) {
      return absl::FailedPreconditionError(
          (*member)->name +
          " was added as a learner for good; to have it vote remove it, and add it again without "
          "--learner");
    }
    (*member)->voter = true;
    (*member)->promote_when_level = false;
    return absl::OkStatus();
  }

  absl::Status operator()(const RemoveMember& change) {
    const absl::StatusOr<Member*> member = Find(change.id);
    if (!member.ok()) return member.status();
    if ((*member)->voter && next.VoterCount() == 1) {
      return absl::FailedPreconditionError((*member)->name +
                                           " is the last voter; without it there is no cluster");
    }
    std::erase_if(next.members, [&](const Member& other) { return other.id == change.id; });
    for (Member& other : next.members) {
      if (other.upstream == change.id) other.upstream = NodeId();
    }
    return absl::OkStatus();
  }

  absl::Status operator()(const MoveMember& change) {
    const absl::StatusOr<Member*> member = Find(change.id);
    if (!member.ok()) return member.status();
    if (absl::Status taken = Taken(next, change.id, change.address); !taken.ok()) return taken;
    if ((*member)->address == change.address) {
      return absl::AlreadyExistsError((*member)->name + " is at " + change.address + " already");
    }
    (*member)->address = change.address;
    return absl::OkStatus();
  }

  absl::Status operator()(const RecordIncarnation& change) {
    const absl::StatusOr<Member*> member = Find(change.id);
    if (!member.ok()) return member.status();
    if ((*member)->incarnation != 0) {
      return absl::AlreadyExistsError((*member)->name + " has shown its data directory before");
    }
    (*member)->incarnation = change.incarnation;
    return absl::OkStatus();
  }

  absl::Status operator()(const SetUpstream& change) {
    const absl::StatusOr<Member*> member = Find(change.id);
    if (!member.ok()) return member.status();
    if ((*member)->upstream == change.upstream) {
      return absl::AlreadyExistsError("the upstream of " + (*member)->name + " is that already");
    }
    (*member)->upstream = change.upstream;
    return CheckUpstream(**member);
  }
};

}  // namespace

absl::StatusOr<Membership> ChangeMembership(const Membership& now, const MembershipChange& change) {
  Changer changer{now};
  const absl::Status status = std::visit(changer, change);
  if (!status.ok()) return status;
  changer.next.required_version = changer.next.RequiredVersion();
  return std::move(changer.next);
}

std::string Describe(const Membership& now, const MembershipChange& change) {
  struct Visitor {
    const Membership& now;
    std::string operator()(const AddLearner& c) const {
      return c.name + " is added as a learner at " + c.address +
             (c.never_votes ? ", for good" : "") +
             (c.upstream == NodeId() ? "" : ", with upstream " + now.NameOf(c.upstream));
    }
    std::string operator()(const PromoteMember& c) const {
      return now.NameOf(c.id) + " becomes a voter";
    }
    std::string operator()(const RemoveMember& c) const { return now.NameOf(c.id) + " is removed"; }
    std::string operator()(const MoveMember& c) const {
      return now.NameOf(c.id) + " moves to " + c.address;
    }
    std::string operator()(const RecordIncarnation& c) const {
      return now.NameOf(c.id) + " has shown its data directory";
    }
    std::string operator()(const SetUpstream& c) const {
      return now.NameOf(c.id) + (c.upstream == NodeId()
                                     ? " has no upstream any more"
                                     : " has the upstream " + now.NameOf(c.upstream) + " now");
    }
  };
  return std::visit(Visitor{now}, change);
}

std::string RefuseSender(const MembershipsInForce& mine, const SenderClaim& sender) {
  const uint32_t required = mine.newest.membership.RequiredVersion();
  if (sender.protocol_version < required) {
    return sender.name + " speaks protocol version " + std::to_string(sender.protocol_version) +
           ", and the cluster has, or had, upstreams or members that never vote, which need "
           "version " +
           std::to_string(required) + ": upgrade " + sender.name;
  }
  // What it was, or is not, in an older membership than its own says nothing.
  if (sender.membership_index > mine.newest.index) return "";
  const Member* member = mine.newest.membership.Find(sender.id);
  if (member == nullptr) member = mine.committed.membership.Find(sender.id);
  if (member == nullptr) return sender.name + " is not a member of this cluster (any more)";
  if (member->incarnation == 0 || member->incarnation == sender.incarnation ||
      SKEIN_PLANTED("admits-wiped-node")) {
    return "";
  }
  return sender.name +
         " comes with another data directory than the one that the cluster knows: its promises are "
         "lost; remove it from the cluster and add it again";
}

}  // namespace skein
