// The receiving end of log shipping: serves Replication.Ship. A stream is let in by its hello, and
// from then on everything that it brings is posted to the sink.
//
// Invariants:
//  1. Nothing is posted from a stream before its hello was accepted, and nothing that does not come
//     from the sender of that hello or is not for this node.
//  2. Of each stream one message at a time is read: what the sink has not taken stays with the
//     sender.
//  3. When Stop has returned, nothing is posted or called any more.
//  4. A receipt is given only when all that came before the wish for it on its stream was posted.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "common/clock.h"
#include "replication/grpc/hello.h"
#include "replication/log_store.h"

namespace grpc {
class ServerBuilder;
class Service;
}  // namespace grpc

namespace skein {

// Thread-safe.
class PeerService {
 public:
  struct Hooks {
    PeerNotice notice;                              // refusals, once for each change; may be empty
    std::function<void(const Hello&)> on_accepted;  // it was let in; may be empty, must not block
  };

  // The pointers must outlive this.
  PeerService(const HelloGate* gate, EventSink* sink, const Clock* clock, Hooks hooks);
  // Only after the server is gone that this is registered with.
  ~PeerService();

  // Adds the service to the server, and sets what the connections of peers need of it: large
  // messages, and patience with their keepalive.
  void Register(grpc::ServerBuilder* builder);

  // Breaks the streams of whom the gate refuses by now. Never blocks.
  void Recheck();

  // That of the sender of a stream which stands; nullopt: it has none.
  std::optional<uint64_t> IncarnationOf(NodeId peer) const;

  // Cancels all streams, refuses new ones. Idempotent; not to be called from the sink or a hook.
  void Stop();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace skein
