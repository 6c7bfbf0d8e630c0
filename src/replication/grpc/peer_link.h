// The link to one peer: a connection with two streams, one for bulk messages and one for all
// others, and a thread that connects, watches and connects again. Private to PeerTransport.
//
// Invariants:
//  1. Messages are taken only while both streams stand accepted, and each stream sends them in the
//     order of Send.
//  2. Events are posted by the link's thread alone, so LinkUp and LinkDown arrive in order.
//  3. When RequestStop has returned, the link posts nothing any more, and when Join has returned it
//     calls nothing any more.
//  4. A link does not stay up while the peer fails to take what is sent on one of the streams, even
//     if the connection and the peer's end of it seem to be well. The peer is asked for receipts:
//     now and then, when something was sent.
//
// Every attempt asks the kernel first whether anybody listens, and uses a fresh channel, so that no
// backoff or name cache of gRPC comes in between.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "replication/grpc/hello.h"
#include "replication/grpc/peer_transport.h"
#include "replication/grpc/probe.h"
#include "replication/grpc/wire_codec.h"

namespace grpc {
class ByteBuffer;
class Channel;
class Status;
}  // namespace grpc

namespace skein {

// Thread-safe.
class PeerLink : public std::enable_shared_from_this<PeerLink> {
 public:
  PeerLink(PeerAddress peer, const HelloGate* gate, EventSink* sink, PeerNotice notice,
           const PeerTransportOptions& options);

  const PeerAddress& peer() const { return peer_; }

  // Starts the thread. Once started, a link must be joined.
  void Start();
  void Send(Message message) ABSL_LOCKS_EXCLUDED(mu_);
  void Kick() ABSL_LOCKS_EXCLUDED(mu_);
  // Breaks the link if the gate refuses the peer by now.
  void Recheck() ABSL_LOCKS_EXCLUDED(mu_);
  PeerLinkStats Stats() const ABSL_LOCKS_EXCLUDED(mu_);

  // Returns as soon as the sink has taken what is being posted.
  void RequestStop() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits until the thread has ended. After RequestStop, from one thread only.
  void Join();
  bool JoinIfFinished() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  class Stream;

  static constexpr size_t kControl = 0;
  static constexpr size_t kBulk = 1;
  static constexpr size_t kLanes = 2;

  // What the peer was asked to confirm. One request is open at a time.
  struct Receipts {
    uint64_t number = 0;  // of the last request
    bool owed = false;    // messages were written after it
    bool open = false;    // it is not answered
    bool due = false;     // it is not even written
    int64_t checks_left = 0;
  };

  // One stream and what waits for it.
  struct Lane {
    size_t bytes_max = 0;  // constant
    Stream* stream = nullptr;
    bool accepted = false;
    bool ended = false;    // no operation may be started any more
    bool writing = false;  // a write is in flight
    std::deque<Message> waiting;
    size_t waiting_bytes = 0;
    size_t writing_bytes = 0;
    Receipts receipts;
  };

  enum class Outcome : uint8_t { kWasUp, kFailed, kRefused };

  // What became of an attempt: the first reason that was found.
  struct Failure {
    std::string reason;  // empty: none yet
    bool refusal = false;
  };

  // On the link's thread.
  void Run();
  Outcome Attempt();
  Outcome RunStreams(const Endpoint& endpoint);
  std::shared_ptr<grpc::Channel> OpenStreams(const Endpoint& endpoint) ABSL_LOCKS_EXCLUDED(mu_);
  bool AwaitAccepted() ABSL_LOCKS_EXCLUDED(mu_);
  void PostUp() ABSL_LOCKS_EXCLUDED(mu_);
  void AwaitBroken() ABSL_LOCKS_EXCLUDED(mu_);
  void CancelStreams() ABSL_LOCKS_EXCLUDED(mu_);
  Failure AwaitDone() ABSL_LOCKS_EXCLUDED(mu_);
  bool Pause(int backoff_ms) ABSL_LOCKS_EXCLUDED(mu_);
  bool Stopping() const ABSL_LOCKS_EXCLUDED(mu_);
  void Post(Event event) ABSL_LOCKS_EXCLUDED(mu_);
  void PostDown(bool refused);
  void Report(const std::string& text);

  // From the streams, on threads of gRPC.
  void OnAnswer(size_t lane, grpc::ByteBuffer* bytes) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status CheckHello(const Hello& hello) const;
  void OnWritten(size_t lane, bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void OnEnded(size_t lane) ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone(size_t lane, const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  absl::Status TakeAnswer(const Answer& answer, Lane* lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckReceipts(Lane* lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Break() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(Lane* lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Fail(const std::string& reason, bool refusal) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteNext(Lane* lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AllDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  const PeerAddress peer_;
  const HelloGate* const gate_;
  EventSink* const sink_;
  const PeerNotice notice_;
  const PeerTransportOptions options_;

  // Owned by the link's thread.
  enum class Reported : uint8_t { kNothing, kUp, kDown, kDownRefused } reported_ = {};
  std::string last_report_;

  std::thread thread_;  // Start and Join only

  // Held while operations are started on a stream: gRPC never calls back from within those.
  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool kicked_ ABSL_GUARDED_BY(mu_) = false;
  bool up_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  Failure failure_ ABSL_GUARDED_BY(mu_);
  Hello hello_ ABSL_GUARDED_BY(mu_);  // the peer's, of the newest stream that it accepted
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;
  std::array<Lane, kLanes> lanes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
