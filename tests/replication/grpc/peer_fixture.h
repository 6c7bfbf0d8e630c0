// Nodes that consist of nothing but their wire side, on loopback ports that the kernel picks.
#pragma once

#include <fmt/format.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/mutex.h"
#include "replication/core/membership.h"
#include "replication/grpc/peer_service.h"
#include "replication/grpc/peer_transport.h"

namespace skein {

// What was posted or noticed, and waiting for it. Every wait ends after 20 s.
template <typename T>
class Recorder {
 public:
  void Add(T value) {
    MutexLock lock(&mu_);
    while (held_) changed_.Wait(&mu_);
    values_.push_back(std::move(value));
    changed_.SignalAll();
  }

  bool WaitFor(const std::function<bool(const std::vector<T>&)>& reached) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    MutexLock lock(&mu_);
    while (!reached(values_)) {
      if (!changed_.WaitUntil(&mu_, end)) return reached(values_);
    }
    return true;
  }

  std::vector<T> Values() const {
    MutexLock lock(&mu_);
    return values_;
  }

  // While held, Add blocks: a node that does not keep up.
  void Hold(bool held) {
    MutexLock lock(&mu_);
    held_ = held;
    changed_.SignalAll();
  }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  bool held_ = false;
  std::vector<T> values_;
};

class TestSink final : public EventSink, public Recorder<Event> {
 public:
  void Post(Event event) override { Add(std::move(event)); }

  template <typename E>
  static std::vector<E> Of(const std::vector<Event>& events) {
    std::vector<E> found;
    for (const Event& event : events) {
      if (const auto* e = std::get_if<E>(&event)) found.push_back(*e);
    }
    return found;
  }

  template <typename E>
  std::vector<E> All() const {
    return Of<E>(Values());
  }

  // The links that broke, as opposed to those that never stood.
  static std::vector<LinkDown> BreaksIn(const std::vector<Event>& events) {
    std::set<NodeId> met;
    std::vector<LinkDown> breaks;
    for (const Event& event : events) {
      if (const auto* up = std::get_if<LinkUp>(&event)) met.insert(up->peer);
      const auto* down = std::get_if<LinkDown>(&event);
      if (down != nullptr && met.contains(down->peer)) breaks.push_back(*down);
    }
    return breaks;
  }
  std::vector<LinkDown> Breaks() const { return BreaksIn(Values()); }
  bool WaitForBreaks(size_t count) {
    return WaitFor(
        [count](const std::vector<Event>& events) { return BreaksIn(events).size() >= count; });
  }

  template <typename E>
  bool WaitForCount(size_t count) {
    return WaitFor([count](const std::vector<Event>& events) {
      size_t found = 0;
      for (const Event& event : events) found += std::holds_alternative<E>(event) ? 1 : 0;
      return found >= count;
    });
  }
};

class Notices final : public Recorder<std::string> {
 public:
  bool WaitForText(const std::string& text) {
    return WaitFor([&text](const std::vector<std::string>& all) { return CountIn(all, text) > 0; });
  }
  size_t Count(const std::string& text) const { return CountIn(Values(), text); }

 private:
  static size_t CountIn(const std::vector<std::string>& all, const std::string& text) {
    size_t count = 0;
    for (const std::string& notice : all) count += notice.find(text) != std::string::npos ? 1 : 0;
    return count;
  }
};

inline PeerIdentity Identity(const std::string& name) {
  return {.cluster_id = 0xc1, .node = NodeIdOf(name), .name = name, .incarnation = 7};
}

// A membership, committed at `index`, of these nodes; no incarnation is known.
inline MembershipsInForce MembershipsOf(const std::vector<PeerAddress>& peers, Index index = {}) {
  Membership membership;
  for (const PeerAddress& peer : peers) {
    membership.members.push_back({.id = peer.id, .name = peer.name, .address = peer.address});
  }
  return {{index, membership}, {index, membership}};
}

// Its sink is a `Sink`.
template <typename Sink>
class WireNode {
 public:
  explicit WireNode(PeerIdentity identity, PeerTransportOptions options = {},
                    IncarnationCheck check = nullptr)
      : gate_(std::move(identity), "127.0.0.1:1", std::move(check)),
        transport_(
            &gate_, &sink_, [this](std::string text) { notices_.Add(std::move(text)); }, options),
        service_(&gate_, &sink_, &clock_,
                 {.notice = [this](std::string text) { notices_.Add(std::move(text)); },
                  .on_accepted =
                      [this](const Hello& hello) {
                        if (on_accepted_) on_accepted_(hello);
                        transport_.Kick(hello.sender.node);
                      }}) {}

  ~WireNode() {
    if constexpr (requires { sink_.Hold(false); }) sink_.Hold(false);
    transport_.Stop();
    StopServer();
  }

  // On this port, else on that of the last time, if there was one.
  bool StartServer(int port = 0) {
    if (port != 0) port_ = port;
    grpc::ServerBuilder builder;
    int bound = 0;
    builder.AddListeningPort(fmt::format("127.0.0.1:{}", port_), grpc::InsecureServerCredentials(),
                             &bound);
    service_.Register(&builder);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || bound == 0) return false;
    port_ = bound;
    return true;
  }

  void StopServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

  // Before the server is started.
  void OnAccepted(std::function<void(const Hello&)> then) { on_accepted_ = std::move(then); }

  // Lets them in.
  void Admit(const std::vector<PeerAddress>& peers) { gate_.SetMemberships(MembershipsOf(peers)); }
  // And links to them.
  void SetPeers(const std::vector<PeerAddress>& peers) {
    Admit(peers);
    transport_.SetPeers(peers);
  }

  PeerAddress address() const {
    return {gate_.self().node, gate_.self().name, fmt::format("127.0.0.1:{}", port_)};
  }
  NodeId id() const { return gate_.self().node; }
  int port() const { return port_; }
  Sink& sink() { return sink_; }
  Notices& notices() { return notices_; }
  PeerTransport& transport() { return transport_; }
  PeerService& service() { return service_; }
  HelloGate& gate() { return gate_; }

 private:
  SystemClock clock_;
  std::function<void(const Hello&)> on_accepted_;
  Sink sink_;
  Notices notices_;
  HelloGate gate_;
  PeerTransport transport_;
  PeerService service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

using TestNode = WireNode<TestSink>;

// `count` entries that continue each other from the start of the log, each with `bytes` of payload.
inline std::vector<EntryPtr> MakeEntries(size_t count, size_t bytes) {
  std::vector<EntryPtr> entries;
  LogPoint last;
  for (size_t i = 0; i < count; ++i) {
    const std::string payload(bytes, static_cast<char>('a' + i % 26));
    entries.push_back(Entry::Build(last, Term(1), EntryType::kCommands, 1, 1000 + i, payload));
    last = entries.back()->point();
  }
  return entries;
}

inline Message MakeAppend(NodeId from, NodeId to, std::vector<EntryPtr> entries,
                          const LogPoint& previous = {}) {
  return {from, to, Term(1),
          AppendMessage{.previous = previous.at,
                        .previous_chain = previous.chain,
                        .commit = previous.at.index,
                        .entries = std::move(entries)}};
}

}  // namespace skein
