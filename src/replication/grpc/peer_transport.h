// Ships messages to the other nodes: one PeerLink for each of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "replication/grpc/hello.h"
#include "replication/log_store.h"
#include "replication/transport.h"

namespace skein {

struct PeerTransportOptions {
  // What may wait for one peer; a message that finds the queue empty is taken whatever its size.
  size_t bulk_queue_bytes = 16u << 20;
  size_t control_queue_bytes = 4u << 20;
  int reconnect_backoff_min_ms = 20;  // doubled with each attempt
  int reconnect_backoff_max_ms = 500;
  int hello_timeout_ms = 1000;      // from the first packet to the acceptance of both streams
  int keepalive_ms = 5000;          // a silent connection is asked for a sign of life after this,
  int keepalive_timeout_ms = 2000;  // and given up when none came for this long
  // A link is given up when the peer has not confirmed for about this long that it has taken what
  // was sent; longer for what is large.
  int receipt_timeout_ms = 3000;

  absl::Status Validate() const;
};

struct PeerLinkStats {
  bool up = false;
  size_t queued_bytes = 0;  // waiting, or handed to gRPC and not yet taken by it
  uint64_t dropped = 0;     // messages that Send did not take, since the link exists
};

class PeerLink;

// Thread-safe. Posts LinkUp and LinkDown to the sink; the two alternate for each peer, beginning
// with a LinkDown, but for one more LinkDown{refused} that may follow a LinkDown when the peer's
// process turns out to be gone.
class PeerTransport final : public Transport {
 public:
  // `gate` and `sink` must outlive this. There are no peers yet; options must be valid.
  PeerTransport(const HelloGate* gate, EventSink* sink, PeerNotice notice,
                PeerTransportOptions options);
  ~PeerTransport() override;

  // Connects to who is new or has moved, lets go of who is gone, for whom nothing is posted any
  // more, and breaks the link to whom the gate refuses now. Never blocks.
  void SetPeers(const std::vector<PeerAddress>& peers) ABSL_LOCKS_EXCLUDED(mu_);

  void Send(Message message) override ABSL_LOCKS_EXCLUDED(mu_);

  // The peer was heard of: if there is no link to it, tries at once.
  void Kick(NodeId peer) ABSL_LOCKS_EXCLUDED(mu_);

  PeerLinkStats Stats(NodeId peer) const ABSL_LOCKS_EXCLUDED(mu_);

  // Breaks all links. When it returns nothing is posted or called any more. Waits for a name lookup
  // that is under way. Idempotent; not to be called from the sink or the notice.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  std::shared_ptr<PeerLink> Find(NodeId peer) const ABSL_LOCKS_EXCLUDED(mu_);

  const HelloGate* const gate_;
  EventSink* const sink_;
  const PeerNotice notice_;
  const PeerTransportOptions options_;

  mutable Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::map<NodeId, std::shared_ptr<PeerLink>> links_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<PeerLink>> retired_ ABSL_GUARDED_BY(mu_);  // asked to stop
};

}  // namespace skein
