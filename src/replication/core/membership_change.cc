#include "replication/core/membership_change.h"

#include <algorithm>

#include "common/planted_bug.h"

namespace skein {
namespace {

absl::Status Taken(const Membership& now, NodeId id, const std::string& address) {
  for (const Member& member : now.members) {
    if (member.id != id && member.address == address) {
      return absl::AlreadyExistsError(address + " is the address of " + member.name);
    }
  }
  return absl::OkStatus();
}

struct Changer {
  Membership next;

  absl::StatusOr<Member*> Find(NodeId id) {
    for (Member& member : next.members) {
      if (member.id == id) return &member;
    }
    return absl::NotFoundError("there is no such member; `skein member list` shows who there is");
  }

  absl::Status operator()(const AddLearner& change) {
    const NodeId id = change.id;
    if (const Member* old = next.Find(id); old != nullptr) {
      return absl::AlreadyExistsError(old->name + " is a member already, at " + old->address);
    }
    if (absl::Status taken = Taken(next, id, change.address); !taken.ok()) return taken;
    Member member{id, change.name, change.address, /*voter=*/false};
    member.promote_when_level = change.promote_when_level;
    const auto place = std::find_if(next.members.begin(), next.members.end(),
                                    [id](const Member& other) { return other.id > id; });
    next.members.insert(place, std::move(member));
    return absl::OkStatus();
  }

  absl::Status operator()(const PromoteMember& change) {
    const absl::StatusOr<Member*> member = Find(change.id);
    if (!member.ok()) return member.status();
    if ((*member)->voter) return absl::AlreadyExistsError((*member)->name + " is a voter already");
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
};

}  // namespace

absl::StatusOr<Membership> ChangeMembership(const Membership& now, const MembershipChange& change) {
  Changer changer{now};
  const absl::Status status = std::visit(changer, change);
  if (!status.ok()) return status;
  return std::move(changer.next);
}

std::string Describe(const Membership& now, const MembershipChange& change) {
  struct Visitor {
    const Membership& now;
    std::string operator()(const AddLearner& c) const {
      return c.name + " is added as a learner at " + c.address;
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
  };
  return std::visit(Visitor{now}, change);
}

std::string RefuseSender(const MembershipsInForce& mine, const SenderClaim& sender) {
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
