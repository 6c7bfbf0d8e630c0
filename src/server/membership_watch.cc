#include "server/membership_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "server/node_options.h"

namespace skein {
namespace {

// Whoever knows the cluster's id can be a guest; a bound on what that costs.
constexpr size_t kGuestsMax = 16;

std::string NamesOf(const Membership& membership) {
  std::vector<std::string> names;
  for (const Member& member : membership.members) {
    names.push_back(member.name + (member.voter ? "" : " (learner)"));
  }
  std::sort(names.begin(), names.end());
  return fmt::format("{}", fmt::join(names, ", "));
}

// What became of a member that there was before.
void DescribeMember(const Member& before, const Member& after, const Membership& membership,
                    std::vector<std::string>* texts) {
  if (after.voter && !before.voter) texts->push_back(after.name + " is a voter now");
  if (!after.voter && before.voter) texts->push_back(after.name + " is a learner now");
  if (after.address != before.address) {
    texts->push_back(fmt::format("{} is at {} now", after.name, after.address));
  }
  if (after.upstream != before.upstream) {
    texts->push_back(after.upstream == NodeId()
                         ? after.name + " has no upstream any more"
                         : fmt::format("{} has the upstream {} now", after.name,
                                       membership.NameOf(after.upstream)));
  }
  if (after.incarnation == before.incarnation) return;
  texts->push_back(after.name + (after.incarnation == 0 ? " was removed and added again"
                                                        : " has shown its data directory"));
}

}  // namespace

std::string DescribeDifference(const Membership& before, const Membership& after) {
  std::vector<std::string> texts;
  for (const Member& member : after.members) {
    const Member* old = before.Find(member.id);
    if (old != nullptr) {
      DescribeMember(*old, member, after, &texts);
    } else {
      texts.push_back(fmt::format("{} is added as a {} at {}", member.name,
                                  member.voter ? "voter" : "learner", member.address));
    }
  }
  for (const Member& member : before.members) {
    if (after.Find(member.id) == nullptr) texts.push_back(member.name + " is removed");
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

MembershipWatch::MembershipWatch(const Parts& parts,
                                 std::map<std::string, std::string> own_addresses, Index told)
    : parts_(parts),
      self_(parts.gate->self().node),
      name_(parts.gate->self().name),
      own_addresses_(std::move(own_addresses)),
      told_(told) {}

void MembershipWatch::Use(const MembershipsInForce& memberships) {
  MutexLock lock(&mu_);
  if (used_) TellOfChange(memberships);
  TellIfGone(memberships);
  ForgetDirectories(memberships);
  used_ = true;
  memberships_ = memberships;
  parts_.gate->SetMemberships(memberships);
  std::erase_if(guests_, [&memberships](const auto& known) {
    return known.second.hello.membership_index <= memberships.newest.index;
  });
  SetLinks();
  parts_.service->Recheck();
}

void MembershipWatch::TellOfChange(const MembershipsInForce& memberships) {
  const MembershipAt& newest = memberships.newest;
  const std::string change = DescribeDifference(memberships_.newest.membership, newest.membership);
  if (change.empty()) return;
  parts_.logger->Event(LogLevel::kInfo, "membership_changed",
                       {{"index", std::to_string(newest.index.value())},
                        {"change", change},
                        {"members", NamesOf(newest.membership)}});
}

void MembershipWatch::TellIfGone(const MembershipsInForce& memberships) {
  const bool gone = !memberships.IsMember(self_) && memberships.newest.index >= told_;
  if (gone == gone_) return;
  gone_ = gone;
  if (!gone) return;
  parts_.logger->Event(
      LogLevel::kWarning, "not_a_member",
      {{"text", fmt::format("{} is no member of the cluster any more, by the membership of index "
                            "{}: it takes part in nothing, and what it serves grows old. Stop it, "
                            "or add it again by `skein member add {} HOST:PORT`",
                            name_, memberships.newest.index.value(), name_)}});
}

// A node that was removed may come back with another directory.
void MembershipWatch::ForgetDirectories(const MembershipsInForce& memberships) {
  std::set<NodeId> kept;
  for (const MembershipAt* at : {&memberships.committed, &memberships.newest}) {
    for (const Member& member : at->membership.members) kept.insert(member.id);
  }
  for (const Member& member : memberships.newest.membership.members) {
    const Member* before = memberships_.newest.membership.Find(member.id);
    const bool added = used_ && (before == nullptr || before->incarnation != 0);
    if (added && member.incarnation == 0) kept.erase(member.id);
  }
  parts_.directory->ForgetPeersExcept(std::move(kept));
}

void MembershipWatch::SetLinks() {
  std::map<NodeId, PeerAddress> peers;
  const auto add = [this, &peers](PeerAddress peer) {
    if (peer.id == self_) return;
    peer.address = ReachedAt(peer);
    peers.emplace(peer.id, std::move(peer));
  };
  for (const auto& [id, guest] : guests_) add(guest.peer);
  for (const MembershipAt* at : {&memberships_.newest, &memberships_.committed}) {
    for (const Member& member : at->membership.members) {
      add({member.id, member.name, member.address});
    }
  }
  std::vector<PeerAddress> all;
  for (auto& [id, peer] : peers) all.push_back(std::move(peer));
  parts_.transport->SetPeers(all);
}

void MembershipWatch::OnAccepted(const Hello& hello) {
  const PeerIdentity& sender = hello.sender;
  {
    MutexLock lock(&mu_);
    const PeerAddress peer = {sender.node, sender.name, hello.address};
    const auto known = guests_.find(sender.node);
    const bool same = known != guests_.end() && known->second.peer == peer;
    const bool full = known == guests_.end() && guests_.size() >= kGuestsMax;
    const Member* member = memberships_.Find(sender.node);
    const bool guest = hello.membership_index > memberships_.newest.index &&
                       (member == nullptr || member->address != hello.address) &&
                       CheckNodeAddress("address", hello.address).ok();
    if (guest && !full) guests_.insert_or_assign(sender.node, Guest{peer, hello});
    if (guest && !full && !same) {
      parts_.logger->Event(LogLevel::kInfo, "guest",
                           {{"text", fmt::format("{} at {} knows a newer membership than {}",
                                                 sender.name, hello.address, name_)}});
      SetLinks();
    }
  }
  parts_.transport->Kick(sender.node);
}

std::optional<PeerAddress> MembershipWatch::Find(NodeId id) const {
  MutexLock lock(&mu_);
  const auto guest = guests_.find(id);
  if (guest != guests_.end()) return guest->second.peer;
  const Member* member = memberships_.Find(id);
  if (member == nullptr) return std::nullopt;
  return PeerAddress{member->id, member->name, member->address};
}

std::string MembershipWatch::ReachedAt(const PeerAddress& peer) const {
  const auto own = own_addresses_.find(peer.name);
  return own == own_addresses_.end() ? peer.address : own->second;
}

std::optional<RecordIncarnation> MembershipWatch::Unrecorded(const Membership& membership) const {
  for (const Member& member : membership.members) {
    if (member.incarnation != 0) continue;
    if (member.id == self_) return RecordIncarnation{self_, parts_.gate->self().incarnation};
    const auto shown = parts_.service->IncarnationOf(member.id);
    if (shown) return RecordIncarnation{member.id, *shown};
  }
  return std::nullopt;
}

}  // namespace skein
