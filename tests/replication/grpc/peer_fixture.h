// Nodes that consist of nothing but their wire side, on loopback ports that the kernel picks.
#pragma once

#include <fmt/format.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
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

class TestNode {
 public:
  explicit TestNode(PeerIdentity identity, PeerTransportOptions options = {},
                    IncarnationCheck check = nullptr)
      : gate_(std::move(identity), std::move(check)),
        transport_(
            &gate_, &sink_, [this](std::string text) { notices_.Add(std::move(text)); }, options),
        service_(&gate_, &sink_, &clock_,
                 {.notice = [this](std::string text) { notices_.Add(std::move(text)); },
                  .on_accepted = [this](NodeId peer) { transport_.Kick(peer); }}) {}

  ~TestNode() {
    sink_.Hold(false);
    transport_.Stop();
    StopServer();
  }

  // On the port of the last time, if there was one.
  bool StartServer() {
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

  PeerAddress address() const {
    return {gate_.self().node, gate_.self().name, fmt::format("127.0.0.1:{}", port_)};
  }
  NodeId id() const { return gate_.self().node; }
  int port() const { return port_; }
  TestSink& sink() { return sink_; }
  Notices& notices() { return notices_; }
  PeerTransport& transport() { return transport_; }
  PeerService& service() { return service_; }
  HelloGate& gate() { return gate_; }

 private:
  SystemClock clock_;
  TestSink sink_;
  Notices notices_;
  HelloGate gate_;
  PeerTransport transport_;
  PeerService service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

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
