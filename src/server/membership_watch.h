// Keeps the wire side of a node in step with the memberships that its replica goes by: who is let
// in, where there are links to, whose data directory is remembered. Says in the log what changes.
//
// A guest is a sender that knows a newer membership, and is not in the node's own, or at another
// address: most often the leader that is about to send the newer one. It gets a link to where it
// says it is, since answers travel on links of their own. A guest goes when a membership comes that
// is no older than the one it knows.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "replication/core/membership_change.h"
#include "replication/grpc/hello.h"
#include "replication/grpc/peer_service.h"
#include "replication/grpc/peer_transport.h"
#include "server/logging.h"
#include "storage/data_directory.h"

namespace skein {

// Thread-safe.
class MembershipWatch {
 public:
  // All outlive the watch.
  struct Parts {
    HelloGate* gate = nullptr;
    PeerTransport* transport = nullptr;
    PeerService* service = nullptr;
    DataDirectory* directory = nullptr;
    Logger* logger = nullptr;
  };

  // `own_addresses`: where this node reaches others, by their names, if not where the cluster does.
  // `told`: of the membership that the node was told when it joined; until it has caught up with it
  // it passes older ones, in which it may be missing.
  MembershipWatch(const Parts& parts, std::map<std::string, std::string> own_addresses, Index told);

  // The node goes by these from now on. From one thread. Never blocks.
  void Use(const MembershipsInForce& memberships) ABSL_LOCKS_EXCLUDED(mu_);

  // The peer service has let a sender in. Never blocks.
  void OnAccepted(const Hello& hello) ABSL_LOCKS_EXCLUDED(mu_);

  // A guest, or a member.
  std::optional<PeerAddress> Find(NodeId id) const ABSL_LOCKS_EXCLUDED(mu_);

  // Where this node reaches it.
  std::string ReachedAt(const PeerAddress& peer) const;

  // The data directory of a member, this node included, that the membership does not have and that
  // a stream which stands has shown; for the leader to propose.
  std::optional<RecordIncarnation> Unrecorded(const Membership& membership) const;

 private:
  struct Guest {
    PeerAddress peer;
    Hello hello;
  };

  void TellOfChange(const MembershipsInForce& memberships) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TellIfGone(const MembershipsInForce& memberships) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetDirectories(const MembershipsInForce& memberships) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetLinks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Parts parts_;
  const NodeId self_;
  const std::string name_;
  const std::map<std::string, std::string> own_addresses_;
  const Index told_;

  mutable Mutex mu_;
  bool used_ ABSL_GUARDED_BY(mu_) = false;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;  // this node was said to be no member
  MembershipsInForce memberships_ ABSL_GUARDED_BY(mu_);
  std::map<NodeId, Guest> guests_ ABSL_GUARDED_BY(mu_);
};

// In words: `n4 is added as a learner at 10.0.0.4:7411, n2 is a voter now`.
std::string DescribeDifference(const Membership& before, const Membership& after);

}  // namespace skein
