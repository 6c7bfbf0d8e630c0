// Real transports over gRPC on the loopback: the Worlds of the contract suite of Transport.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "tests/contract/transport_log.h"
#include "tests/contract/world.h"
#include "tests/replication/grpc/peer_fixture.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {

// The sink of one process. What it has taken outlives it.
class ProcessSink final : public EventSink {
 public:
  void Post(Event event) override {
    // Every peer is down until its link says otherwise; the contract begins there.
    const auto* down = std::get_if<LinkDown>(&event);
    if (down != nullptr && IsFirst(down->peer)) return;
    log_->Post(std::move(event));
  }
  std::shared_ptr<TransportLog> log() const { return log_; }

 private:
  bool IsFirst(NodeId peer) {
    MutexLock lock(&mu_);
    return known_.insert(peer).second;
  }

  const std::shared_ptr<TransportLog> log_ = std::make_shared<TransportLog>();
  Mutex mu_;
  std::set<NodeId> known_ ABSL_GUARDED_BY(mu_);
};

// Nodes that dial each other.
class GrpcWorld : public NetworkWithoutFaults {
 public:
  void Start(size_t node) {
    nodes_[node] = std::make_unique<Process>(Identity(NameOf(node)), kOptions);
    logs_[node] = nodes_[node]->sink().log();
    ASSERT_TRUE(nodes_[node]->StartServer(ports_[node].number()));
    std::vector<PeerAddress> peers;
    for (size_t peer = 0; peer < kNodes; ++peer) {
      if (peer == node) continue;
      peers.push_back({Id(peer), NameOf(peer), AddressFor(node, peer)});
    }
    nodes_[node]->SetPeers(peers);
  }
  void End(size_t node) { nodes_[node].reset(); }
  static NodeId Id(size_t node) { return NodeIdOf(NameOf(node)); }
  Transport& transport(size_t node) { return nodes_[node]->transport(); }
  TransportLog& log(size_t node) { return *logs_[node]; }
  static bool WaitUntil(const std::function<bool()>& done) {
    return skein::WaitUntil(std::chrono::seconds(20), done);
  }
  // More than the queues, the windows of HTTP/2 and the buffers of the kernel hold.
  static constexpr size_t kFillMessages = 600;
  static constexpr size_t kFillBytes = 100'000;

 protected:
  static constexpr size_t kNodes = 3;

  // Where `from` is told to find `to`.
  virtual std::string AddressFor(size_t, size_t to) { return ports_[to].address(); }

  std::array<FreePort, kNodes> ports_;

 private:
  using Process = WireNode<ProcessSink>;

  static constexpr PeerTransportOptions kOptions = {
      .bulk_queue_bytes = 1u << 20, .control_queue_bytes = 1u << 20, .receipt_timeout_ms = 800};

  static std::string NameOf(size_t node) { return "n" + std::to_string(node + 1); }

  std::array<std::unique_ptr<Process>, kNodes> nodes_;
  std::array<std::shared_ptr<TransportLog>, kNodes> logs_;
};

// With a proxy on each link that can hurt it.
class ProxiedGrpcWorld : public GrpcWorld {
 public:
  ProxiedGrpcWorld() {
    for (size_t from = 0; from < kNodes; ++from) {
      for (size_t to = 0; to < kNodes; ++to) {
        if (from == to) continue;
        links_[from][to] = proxy_.AddLink(link_ports_[from][to].number(), ports_[to].number());
      }
    }
  }

  static constexpr bool kCanBreak = true;
  void Break(size_t from, size_t to) { proxy_.Reset(links_[from][to]); }

  static constexpr bool kCanStall = true;
  void Stall(size_t from, size_t to) { Set(from, to, {.forward = {.stall = true}}); }
  void Release(size_t from, size_t to) { Heal(from, to); }

  static constexpr bool kCanSwallow = true;
  void Swallow(size_t from, size_t to) { Set(from, to, {.forward = {.drop = true}}); }

  static constexpr bool kCanCut = true;
  void Cut(size_t from, size_t to) { Set(from, to, {.refuse = true}); }
  void Heal(size_t from, size_t to) { Set(from, to, {}); }

  static constexpr bool kCanGarble = true;
  void Garble(size_t from, size_t to) { proxy_.Garble(links_[from][to], Flow::kForward); }

 private:
  std::string AddressFor(size_t from, size_t to) override {
    return link_ports_[from][to].address();
  }
  void Set(size_t from, size_t to, const LinkFault& fault) { proxy_.Set(links_[from][to], fault); }

  std::array<std::array<FreePort, kNodes>, kNodes> link_ports_;
  int links_[kNodes][kNodes] = {};
  FaultProxy proxy_;
};

}  // namespace skein
