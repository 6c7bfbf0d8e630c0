#include "replication/grpc/hello.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"

namespace skein {
namespace {

absl::Status Refuse(const std::string& message, const std::string& hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, message + ": " + hint,
                   {.reason = ErrorReason::kPeerRefused, .hint = hint});
}

}  // namespace

HelloGate::HelloGate(PeerIdentity self, IncarnationCheck check)
    : self_(std::move(self)), check_(std::move(check)) {}

void HelloGate::SetPeers(std::vector<PeerAddress> peers) {
  MutexLock lock(&mu_);
  peers_ = std::move(peers);
}

bool HelloGate::IsPeer(NodeId id) const {
  MutexLock lock(&mu_);
  for (const PeerAddress& peer : peers_) {
    if (peer.id == id) return true;
  }
  return false;
}

absl::Status HelloGate::Check(const Hello& hello) const {
  const PeerIdentity& sender = hello.sender;
  if (sender.protocol_version != self_.protocol_version) {
    return Refuse(
        fmt::format("{} speaks peer protocol version {}, {} speaks version {}", sender.name,
                    sender.protocol_version, self_.name, self_.protocol_version),
        "run releases that share a version");
  }
  if (sender.cluster_id != self_.cluster_id) {
    return Refuse(fmt::format("{} belongs to cluster {:016x}, {} belongs to cluster {:016x}",
                              sender.name, sender.cluster_id, self_.name, self_.cluster_id),
                  "correct the addresses of the members, or the data directory that is used");
  }
  if (hello.to != self_.node) {
    return Refuse(
        fmt::format("{} wants to talk to node id {:016x}, but this is {}, node id {:016x}",
                    sender.name, hello.to.value(), self_.name, self_.node.value()),
        "correct the addresses of the members");
  }
  if (sender.node == self_.node) {
    return Refuse(fmt::format("{} states the node id {:016x} of {} itself", sender.name,
                              sender.node.value(), self_.name),
                  "give every node a name of its own");
  }
  if (!IsPeer(sender.node)) {
    return Refuse(fmt::format("{} with node id {:016x} is no member of the cluster that {} knows",
                              sender.name, sender.node.value(), self_.name),
                  "add it to the members, or stop it");
  }
  return check_ ? check_(hello) : absl::OkStatus();
}

}  // namespace skein
