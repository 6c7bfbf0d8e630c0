#include "replication/grpc/hello.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"
#include "replication/core/membership_change.h"

namespace skein {
namespace {

absl::Status Refuse(const std::string& message, const std::string& hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, message + ": " + hint,
                   {.reason = ErrorReason::kPeerRefused, .hint = hint});
}

// `protocol version 1`, or `protocol versions 1 to 2`.
std::string VersionsOf(const PeerIdentity& node) {
  if (node.oldest_protocol_version == node.protocol_version) {
    return fmt::format("protocol version {}", node.protocol_version);
  }
  return fmt::format("protocol versions {} to {}", node.oldest_protocol_version,
                     node.protocol_version);
}

// The two must share a version.
absl::Status CheckVersions(const PeerIdentity& sender, const PeerIdentity& self) {
  const bool sender_is_old = sender.protocol_version < self.oldest_protocol_version;
  if (!sender_is_old && sender.oldest_protocol_version <= self.protocol_version) {
    return absl::OkStatus();
  }
  return Refuse(fmt::format("{} speaks {}, {} speaks {}", sender.name, VersionsOf(sender),
                            self.name, VersionsOf(self)),
                "upgrade " + (sender_is_old ? sender.name : self.name));
}

}  // namespace

HelloGate::HelloGate(PeerIdentity self, std::string address, IncarnationCheck check)
    : self_(std::move(self)), address_(std::move(address)), check_(std::move(check)) {}

void HelloGate::SetMemberships(MembershipsInForce memberships) {
  MutexLock lock(&mu_);
  memberships_ = std::move(memberships);
}

Hello HelloGate::HelloTo(NodeId peer) const {
  MutexLock lock(&mu_);
  const Member* me = memberships_.Find(self_.node);
  return {self_, peer, memberships_.newest.index, me == nullptr ? address_ : me->address};
}

bool HelloGate::IsUnseen(const Hello& hello) const {
  MutexLock lock(&mu_);
  if (hello.membership_index > memberships_.newest.index) return false;
  const Member* member = memberships_.Find(hello.sender.node);
  return member != nullptr && member->incarnation == 0;
}

absl::Status HelloGate::CheckMember(const Hello& hello) const {
  const PeerIdentity& sender = hello.sender;
  MutexLock lock(&mu_);
  const std::string reason =
      RefuseSender(memberships_, {.id = sender.node,
                                  .name = sender.name,
                                  .incarnation = sender.incarnation,
                                  .membership_index = hello.membership_index,
                                  .protocol_version = sender.protocol_version});
  if (reason.empty()) return absl::OkStatus();
  const Member* member = memberships_.Find(sender.node);
  if (sender.protocol_version < memberships_.newest.membership.RequiredVersion()) {
    return Refuse(self_.name + " refuses " + sender.name, reason);
  }
  if (member == nullptr) {
    return Refuse(
        fmt::format("{} goes by the membership of index {}: {}", self_.name,
                    memberships_.newest.index.value(), reason),
        fmt::format("add it by `skein member add {} {}`, or stop it", sender.name, hello.address));
  }
  return Refuse(fmt::format("{} has incarnation {:016x}, {} knows it as {:016x}", sender.name,
                            sender.incarnation, self_.name, member->incarnation),
                reason);
}

// With the histories taken away, the ids are those of the clusters' names.
absl::Status HelloGate::RefuseCluster(const PeerIdentity& sender) const {
  const std::string ids =
      fmt::format("{} belongs to cluster {:016x}, {} belongs to cluster {:016x}", sender.name,
                  sender.cluster_id, self_.name, self_.cluster_id);
  if ((sender.cluster_id ^ sender.history) != (self_.cluster_id ^ self_.history)) {
    return Refuse(ids, "correct the addresses of the members, or the data directory that is used");
  }
  // Which of two recoveries was the later one, nobody can tell.
  const std::string older = self_.history == 0    ? self_.name
                            : sender.history == 0 ? sender.name
                                                  : "one of them";
  return Refuse(
      fmt::format("{}: the cluster was recovered from the loss of a majority without {}", ids,
                  older),
      fmt::format("stop {}, run `skein member remove` if it is a member still, then `skein member "
                  "add`, and start it with --join and an empty data directory",
                  older));
}

absl::Status HelloGate::Check(const Hello& hello) const {
  const PeerIdentity& sender = hello.sender;
  if (absl::Status status = CheckVersions(sender, self_); !status.ok()) return status;
  if (sender.cluster_id != self_.cluster_id) {
    return RefuseCluster(sender);
  }
  if (hello.to != self_.node) {
    return Refuse(
        fmt::format("{} wants to talk to node id {:016x}, but this is {}, node id {:016x}",
                    sender.name, hello.to.value(), self_.name, self_.node.value()),
        "stop " + self_.name + " if it was removed, else correct the addresses of the members");
  }
  if (sender.node == self_.node) {
    return Refuse(fmt::format("{} states the node id {:016x} of {} itself", sender.name,
                              sender.node.value(), self_.name),
                  "give every node a name of its own");
  }
  if (absl::Status status = CheckMember(hello); !status.ok()) return status;
  return check_ && IsUnseen(hello) ? check_(hello) : absl::OkStatus();
}

}  // namespace skein
