#include "replication/grpc/peer_service.h"

#include <fmt/format.h>
#include <grpcpp/server_builder.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "common/error.h"
#include "common/mutex.h"
#include "replication/grpc/wire_codec.h"
#include "skein/v1/replication.grpc.pb.h"

namespace skein {
namespace {

using RawReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// `ipv4:127.0.0.1` of `ipv4:127.0.0.1:50123`.
std::string HostOf(const std::string& peer) { return peer.substr(0, peer.rfind(':')); }

// A stream that is finished before it begins.
class Refusal final : public RawReactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

class PeerService::Impl final
    : public v1::Replication::WithRawCallbackMethod_Ship<v1::Replication::Service> {
 public:
  Impl(const HelloGate* gate, EventSink* sink, const Clock* clock, Hooks hooks)
      : gate_(gate), sink_(sink), clock_(clock), hooks_(std::move(hooks)) {}

  RawReactor* Ship(grpc::CallbackServerContext* context) override ABSL_LOCKS_EXCLUDED(mu_);
  void Recheck() ABSL_LOCKS_EXCLUDED(mu_);
  std::optional<uint64_t> IncarnationOf(NodeId peer) const ABSL_LOCKS_EXCLUDED(mu_);
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  class Stream;

  // Tells once of each change in why `who` is refused.
  void Notice(const std::string& who, const std::string& text) ABSL_LOCKS_EXCLUDED(mu_);
  void Accepted(Stream* stream, const Hello& hello) ABSL_LOCKS_EXCLUDED(mu_);
  void Forget(Stream* stream) ABSL_LOCKS_EXCLUDED(mu_);

  const HelloGate* const gate_;
  EventSink* const sink_;
  const Clock* const clock_;
  const Hooks hooks_;

  mutable Mutex mu_;
  CondVar gone_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<Stream*, std::optional<Hello>> streams_ ABSL_GUARDED_BY(mu_);  // with what was let in
  std::map<std::string, std::string> refusals_ ABSL_GUARDED_BY(mu_);
};

// Everything but OnDone and the end of a write happens in OnReadDone, of which one runs at a time.
class PeerService::Impl::Stream final : public RawReactor {
 public:
  Stream(Impl* service, grpc::CallbackServerContext* context)
      : service_(service), context_(context), who_(HostOf(context->peer())) {}

  void Begin() { StartRead(&read_); }
  void Cancel() { context_->TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    absl::StatusOr<Envelope> envelope = DecodeEnvelope(&read_);
    absl::Status status = envelope.status();
    if (status.ok()) {
      status = std::visit([this](auto& content) { return Take(&content); }, *envelope);
    }
    if (status.ok()) {
      StartRead(&read_);
      return;
    }
    Refuse(status);
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    writing_ = false;
    if (ok) WriteNext();
  }

  void OnDone() override {
    Impl* const service = service_;
    service->Forget(this);
  }

 private:
  absl::Status Take(Hello* hello) {
    if (peer_ != NodeId()) return absl::InvalidArgumentError("a second hello on one stream");
    who_ = hello->sender.name;
    if (absl::Status status = service_->gate_->Check(*hello); !status.ok()) return status;
    peer_ = hello->sender.node;
    Answer(EncodeAnswer(service_->gate_->HelloTo(peer_)));
    service_->Accepted(this, *hello);
    return absl::OkStatus();
  }

  absl::Status Take(const ReceiptWanted* wanted) {
    if (peer_ == NodeId()) return absl::InvalidArgumentError("a receipt wanted before the hello");
    Answer(EncodeAnswer(Receipt{wanted->number}));
    return absl::OkStatus();
  }

  absl::Status Take(std::vector<Message>* messages) {
    if (peer_ == NodeId()) return absl::InvalidArgumentError("messages before the hello");
    for (const Message& message : *messages) {
      if (message.from != peer_ || message.to != service_->gate_->self().node) {
        return absl::InvalidArgumentError(
            fmt::format("a message from node id {:016x} to {:016x} on the stream of {:016x}",
                        message.from.value(), message.to.value(), peer_.value()));
      }
    }
    const uint64_t now_us = service_->clock_->MonotonicMicros();
    for (Message& message : *messages) service_->sink_->Post(Received{std::move(message), now_us});
    return absl::OkStatus();
  }

  void Refuse(const absl::Status& status) {
    const bool refusal = absl::IsFailedPrecondition(status);
    const std::string text = (refusal ? "" : "malformed: ") + MessageOf(status);
    service_->Notice(who_, fmt::format("refused the stream of {}: {}", who_, text));
    End({refusal ? grpc::StatusCode::FAILED_PRECONDITION : grpc::StatusCode::INVALID_ARGUMENT,
         text});
  }

  // A receipt takes the place of one that still waits: it says the same and more.
  void Answer(grpc::ByteBuffer bytes) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    next_write_ = std::move(bytes);
    WriteNext();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || ended_ || !next_write_) return;
    writing_ = true;
    write_ = *std::move(next_write_);
    next_write_.reset();
    StartWrite(&write_);
  }

  void End(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    ended_ = true;
    Finish(status);
  }

  Impl* const service_;
  grpc::CallbackServerContext* const context_;
  std::string who_;  // where it comes from, then the name that the hello states
  NodeId peer_;      // 0: no hello accepted yet
  grpc::ByteBuffer read_;

  // Held while operations are started: gRPC never calls back from within those.
  Mutex mu_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<grpc::ByteBuffer> next_write_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer write_ ABSL_GUARDED_BY(mu_);  // stays until OnWriteDone

  friend class Impl;
};

RawReactor* PeerService::Impl::Ship(grpc::CallbackServerContext* context) {
  MutexLock lock(&mu_);
  if (stopping_) {
    return new Refusal({grpc::StatusCode::UNAVAILABLE, "the node is stopping"});
  }
  auto* stream = new Stream(this, context);
  streams_.emplace(stream, std::nullopt);
  stream->Begin();
  return stream;
}

// A stream that is broken opens anew, and hears why it is refused.
void PeerService::Impl::Recheck() {
  MutexLock lock(&mu_);
  for (const auto& [stream, hello] : streams_) {
    if (hello && !gate_->CheckMember(*hello).ok()) stream->Cancel();
  }
}

std::optional<uint64_t> PeerService::Impl::IncarnationOf(NodeId peer) const {
  MutexLock lock(&mu_);
  for (const auto& [stream, hello] : streams_) {
    if (hello && hello->sender.node == peer) return hello->sender.incarnation;
  }
  return std::nullopt;
}

void PeerService::Impl::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  for (const auto& [stream, hello] : streams_) stream->Cancel();
  while (!streams_.empty()) gone_.Wait(&mu_);
}

void PeerService::Impl::Notice(const std::string& who, const std::string& text) {
  constexpr size_t kRemembered = 64;
  {
    MutexLock lock(&mu_);
    if (refusals_.size() >= kRemembered && !refusals_.contains(who)) refusals_.clear();
    std::string& last = refusals_[who];
    if (last == text) return;
    last = text;
  }
  if (hooks_.notice) hooks_.notice(text);
}

void PeerService::Impl::Accepted(Stream* stream, const Hello& hello) {
  {
    MutexLock lock(&mu_);
    refusals_.erase(hello.sender.name);
    streams_[stream] = hello;
    // The memberships may have changed since the hello was let in, and were looked through then.
    if (!gate_->CheckMember(hello).ok()) stream->Cancel();
  }
  if (hooks_.on_accepted) hooks_.on_accepted(hello);
}

void PeerService::Impl::Forget(Stream* stream) {
  MutexLock lock(&mu_);
  streams_.erase(stream);
  delete stream;
  gone_.SignalAll();
}

PeerService::PeerService(const HelloGate* gate, EventSink* sink, const Clock* clock, Hooks hooks)
    : impl_(std::make_unique<Impl>(gate, sink, clock, std::move(hooks))) {}

PeerService::~PeerService() { Stop(); }

void PeerService::Register(grpc::ServerBuilder* builder) {
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kHttp2FrameBytes);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, kHttp2WriteBufferBytes);
  builder->SetMaxReceiveMessageSize(static_cast<int>(kPeerMessageBytesMax));
  builder->RegisterService(impl_.get());
}

void PeerService::Recheck() { impl_->Recheck(); }

std::optional<uint64_t> PeerService::IncarnationOf(NodeId peer) const {
  return impl_->IncarnationOf(peer);
}

void PeerService::Stop() { impl_->Stop(); }

}  // namespace skein
