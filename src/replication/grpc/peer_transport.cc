#include "replication/grpc/peer_transport.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/error.h"
#include "replication/grpc/peer_link.h"

namespace skein {

absl::Status PeerTransportOptions::Validate() const {
  if (bulk_queue_bytes == 0 || control_queue_bytes == 0) {
    return InvalidField("the queues of a peer link must hold at least one byte");
  }
  if (reconnect_backoff_min_ms < 1 || reconnect_backoff_max_ms < reconnect_backoff_min_ms) {
    return InvalidField("the reconnect backoff must be at least 1 ms, its maximum not below that");
  }
  if (hello_timeout_ms < 1 || keepalive_ms < 1 || keepalive_timeout_ms < 1 ||
      receipt_timeout_ms < 1) {
    return InvalidField("the timeouts of a peer link must be at least 1 ms");
  }
  return absl::OkStatus();
}

PeerTransport::PeerTransport(const HelloGate* gate, EventSink* sink, PeerNotice notice,
                             PeerTransportOptions options)
    : gate_(gate), sink_(sink), notice_(std::move(notice)), options_(options) {
  SKEIN_CHECK(options_.Validate().ok());
}

PeerTransport::~PeerTransport() { Stop(); }

void PeerTransport::SetPeers(const std::vector<PeerAddress>& peers) {
  MutexLock lock(&mu_);
  if (stopped_) return;
  for (auto it = links_.begin(); it != links_.end();) {
    if (std::find(peers.begin(), peers.end(), it->second->peer()) != peers.end()) {
      it->second->Recheck();
      ++it;
      continue;
    }
    it->second->RequestStop();
    retired_.push_back(std::move(it->second));
    it = links_.erase(it);
  }
  for (const PeerAddress& peer : peers) {
    std::shared_ptr<PeerLink>& link = links_[peer.id];
    if (link != nullptr) continue;
    sink_->Post(LinkDown{peer.id, /*refused=*/false});  // until the link says otherwise
    link = std::make_shared<PeerLink>(peer, gate_, sink_, notice_, options_);
    link->Start();
  }
  std::erase_if(retired_, [](const auto& link) { return link->JoinIfFinished(); });
}

std::shared_ptr<PeerLink> PeerTransport::Find(NodeId peer) const {
  MutexLock lock(&mu_);
  const auto it = links_.find(peer);
  return it == links_.end() ? nullptr : it->second;
}

void PeerTransport::Send(Message message) {
  if (const auto link = Find(message.to)) link->Send(std::move(message));
}

void PeerTransport::Kick(NodeId peer) {
  if (const auto link = Find(peer)) link->Kick();
}

PeerLinkStats PeerTransport::Stats(NodeId peer) const {
  const auto link = Find(peer);
  return link == nullptr ? PeerLinkStats{} : link->Stats();
}

void PeerTransport::Stop() {
  std::vector<std::shared_ptr<PeerLink>> links;
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    links.swap(retired_);
    for (auto& [id, link] : links_) links.push_back(std::move(link));
    links_.clear();
  }
  for (const auto& link : links) link->RequestStop();
  for (const auto& link : links) link->Join();
}

}  // namespace skein
