#include "replication/grpc/peer_link.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "common/error.h"

namespace skein {
namespace {

constexpr size_t kBatchBytesMax = 1u << 20;
constexpr int kProbeTimeoutMs = 100;
// A process that dies closes its connections and its listening socket one after the other.
constexpr int kDyingPausesUs[] = {200, 600, 1200};
// A stream that the peer ended brings a status; it comes with the end or shortly after.
constexpr std::chrono::milliseconds kStatusPause(100);

// How often within the patience for a receipt it is looked for. Patience is counted in looks, not
// by the clock: a process that was frozen reads what has arrived meanwhile before it gives up on
// it.
constexpr int kReceiptChecks = 8;
// What is being written before a request delays its receipt; a network that carries less than 1 MiB
// a second is not provided for.
constexpr size_t kBytesPerMs = 1u << 10;

std::chrono::milliseconds CheckInterval(const PeerTransportOptions& options) {
  return std::chrono::milliseconds(std::max(1, options.receipt_timeout_ms / kReceiptChecks));
}

grpc::ChannelArguments ArgumentsFor(const PeerTransportOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kHttp2FrameBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, kHttp2WriteBufferBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, options.keepalive_ms);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options.keepalive_timeout_ms);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, options.reconnect_backoff_min_ms);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options.hello_timeout_ms);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, options.reconnect_backoff_max_ms);
  arguments.SetMaxSendMessageSize(-1);
  return arguments;
}

bool IsRefusal(grpc::StatusCode code) {
  return code == grpc::StatusCode::FAILED_PRECONDITION ||
         code == grpc::StatusCode::INVALID_ARGUMENT || code == grpc::StatusCode::UNIMPLEMENTED;
}

}  // namespace

// Deleted by the link in OnDone, after which gRPC calls it no more.
class PeerLink::Stream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Stream(std::shared_ptr<PeerLink> link, size_t lane) : link_(std::move(link)), lane_(lane) {}

  // The hold allows writes from outside of reactions, until Release.
  void Open(const std::shared_ptr<grpc::Channel>& channel, grpc::ByteBuffer hello) {
    grpc::GenericStub stub(channel);
    stub.PrepareBidiStreamingCall(&context_, "/skein.v1.Replication/Ship", grpc::StubOptions(),
                                  this);
    AddHold();
    StartRead(&read_);
    Write(std::move(hello));
    StartCall();
  }

  void Write(grpc::ByteBuffer bytes) {
    write_.Swap(&bytes);
    StartWrite(&write_);
  }

  void Cancel() { context_.TryCancel(); }
  void Release() { RemoveHold(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      link_->OnEnded(lane_);
      return;
    }
    link_->OnAnswer(lane_, &read_);
    StartRead(&read_);
  }

  void OnWriteDone(bool ok) override {
    write_.Clear();
    link_->OnWritten(lane_, ok);
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<PeerLink> link = std::move(link_);
    link->OnDone(lane_, status);
  }

 private:
  std::shared_ptr<PeerLink> link_;
  const size_t lane_;
  grpc::ClientContext context_;
  grpc::ByteBuffer read_;
  grpc::ByteBuffer write_;  // stays until OnWriteDone
};

PeerLink::PeerLink(PeerAddress peer, const HelloGate* gate, EventSink* sink, PeerNotice notice,
                   const PeerTransportOptions& options)
    : peer_(std::move(peer)),
      gate_(gate),
      sink_(sink),
      notice_(std::move(notice)),
      options_(options) {
  MutexLock lock(&mu_);
  lanes_[kControl].bytes_max = options_.control_queue_bytes;
  lanes_[kBulk].bytes_max = options_.bulk_queue_bytes;
}

void PeerLink::Start() {
  thread_ = std::thread([this] { Run(); });
}

void PeerLink::Send(Message message) {
  const size_t bytes = WireBytes(message);
  MutexLock lock(&mu_);
  Lane& lane = lanes_[message.IsBulk() ? kBulk : kControl];
  const bool full =
      !lane.waiting.empty() && lane.waiting_bytes + lane.writing_bytes + bytes > lane.bytes_max;
  if (!up_ || full || bytes > kPeerMessageBytesMax) {
    ++dropped_;
    return;
  }
  lane.waiting.push_back(std::move(message));
  lane.waiting_bytes += bytes;
  WriteNext(&lane);
}

void PeerLink::Kick() {
  MutexLock lock(&mu_);
  if (up_) return;
  kicked_ = true;
  changed_.SignalAll();
}

void PeerLink::Recheck() {
  MutexLock lock(&mu_);
  if (!up_) return;
  const absl::Status status = gate_->CheckMember(hello_);
  if (status.ok()) return;
  Fail(MessageOf(status), true);
  Break();
}

PeerLinkStats PeerLink::Stats() const {
  MutexLock lock(&mu_);
  PeerLinkStats stats{.up = up_, .dropped = dropped_};
  for (const Lane& lane : lanes_) stats.queued_bytes += lane.waiting_bytes + lane.writing_bytes;
  return stats;
}

void PeerLink::RequestStop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  changed_.SignalAll();
}

void PeerLink::Join() {
  if (thread_.joinable()) thread_.join();
}

bool PeerLink::JoinIfFinished() {
  {
    MutexLock lock(&mu_);
    if (!finished_) return false;
  }
  Join();
  return true;
}

bool PeerLink::Stopping() const {
  MutexLock lock(&mu_);
  return stopping_;
}

void PeerLink::Run() {
  int backoff_ms = options_.reconnect_backoff_min_ms;
  while (!Stopping()) {
    {
      MutexLock lock(&mu_);
      kicked_ = false;
    }
    switch (Attempt()) {
      case Outcome::kWasUp:
        backoff_ms = options_.reconnect_backoff_min_ms;
        break;
      case Outcome::kRefused:
        backoff_ms = options_.reconnect_backoff_max_ms;
        break;
      case Outcome::kFailed:
        break;
    }
    const bool kicked = Pause(backoff_ms);
    backoff_ms = kicked ? options_.reconnect_backoff_min_ms
                        : std::min(2 * backoff_ms, options_.reconnect_backoff_max_ms);
  }
  MutexLock lock(&mu_);
  finished_ = true;
}

bool PeerLink::Pause(int backoff_ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(backoff_ms);
  MutexLock lock(&mu_);
  while (!stopping_ && !kicked_) {
    if (!changed_.WaitUntil(&mu_, end)) break;
  }
  return kicked_;
}

PeerLink::Outcome PeerLink::Attempt() {
  const absl::StatusOr<std::vector<Endpoint>> endpoints = Resolve(peer_.address);
  if (!endpoints.ok()) {
    Report(fmt::format("no link to {}: {}", peer_.name, MessageOf(endpoints.status())));
    return Outcome::kFailed;
  }
  bool all_refused = true;
  for (const Endpoint& endpoint : *endpoints) {
    const ProbeResult result = Probe(endpoint, kProbeTimeoutMs);
    if (Stopping()) return Outcome::kFailed;
    if (result == ProbeResult::kConnected) return RunStreams(endpoint);
    all_refused = all_refused && result == ProbeResult::kRefused;
  }
  if (all_refused && reported_ == Reported::kDown) PostDown(/*refused=*/true);
  Report(fmt::format("no link to {} at {}: {}", peer_.name, peer_.address,
                     all_refused ? "nobody listens there" : "it cannot be reached"));
  return Outcome::kFailed;
}

PeerLink::Outcome PeerLink::RunStreams(const Endpoint& endpoint) {
  const std::shared_ptr<grpc::Channel> channel = OpenStreams(endpoint);
  const bool accepted = AwaitAccepted();
  if (accepted) {
    PostUp();
    Report(fmt::format("link to {} at {} is up", peer_.name, peer_.address));
    AwaitBroken();
  }
  CancelStreams();
  bool refused = false;
  if (accepted && !Stopping()) {
    ProbeResult result = Probe(endpoint, kProbeTimeoutMs);
    for (const int pause_us : kDyingPausesUs) {
      if (result != ProbeResult::kConnected) break;
      absl::SleepFor(absl::Microseconds(pause_us));
      result = Probe(endpoint, kProbeTimeoutMs);
    }
    refused = result == ProbeResult::kRefused;
    PostDown(refused);
  }
  const Failure failure = AwaitDone();
  if (Stopping()) return Outcome::kFailed;
  Report(fmt::format("{} to {} at {}: {}{}", accepted ? "lost the link" : "no link", peer_.name,
                     peer_.address, failure.reason, refused ? "; nobody listens there" : ""));
  if (failure.refusal) return Outcome::kRefused;
  return accepted ? Outcome::kWasUp : Outcome::kFailed;
}

std::shared_ptr<grpc::Channel> PeerLink::OpenStreams(const Endpoint& endpoint) {
  std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
      endpoint.Target(), grpc::InsecureChannelCredentials(), ArgumentsFor(options_));
  MutexLock lock(&mu_);
  broken_ = false;
  failure_ = {};
  for (size_t i = 0; i < kLanes; ++i) {
    Lane& lane = lanes_[i];
    lane.accepted = false;
    lane.ended = false;
    lane.writing = true;
    lane.receipts = {};
    lane.stream = new Stream(shared_from_this(), i);
    lane.stream->Open(channel, EncodeHello(gate_->HelloTo(peer_.id)));
  }
  return channel;
}

bool PeerLink::AwaitAccepted() {
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.hello_timeout_ms);
  MutexLock lock(&mu_);
  while (!broken_ && !stopping_ && !(lanes_[kControl].accepted && lanes_[kBulk].accepted)) {
    if (!changed_.WaitUntil(&mu_, end)) {
      Fail(fmt::format("it did not answer within {} ms", options_.hello_timeout_ms), false);
      Break();
    }
  }
  if (stopping_) return false;
  if (!broken_) {
    up_ = true;
    kicked_ = false;
    return true;
  }
  const auto patience = std::chrono::steady_clock::now() + kStatusPause;
  while (failure_.reason.empty() && !stopping_ && !AllDone()) {
    if (!changed_.WaitUntil(&mu_, patience)) break;
  }
  return false;
}

void PeerLink::AwaitBroken() {
  MutexLock lock(&mu_);
  const auto interval = CheckInterval(options_);
  auto next_check = std::chrono::steady_clock::now() + interval;
  while (!broken_ && !stopping_) {
    if (changed_.WaitUntil(&mu_, next_check)) continue;
    next_check = std::chrono::steady_clock::now() + interval;
    for (Lane& lane : lanes_) CheckReceipts(&lane);
  }
}

void PeerLink::CheckReceipts(Lane* lane) {
  Receipts& receipts = lane->receipts;
  if (broken_) return;
  if (receipts.open) {
    if (receipts.checks_left-- > 0) return;
    Fail(fmt::format("it did not confirm within {} ms that it takes what is sent",
                     options_.receipt_timeout_ms),
         false);
    Break();
  } else if (receipts.owed) {
    const auto under_way_ms = static_cast<int64_t>(lane->writing_bytes / kBytesPerMs);
    receipts = {.number = receipts.number + 1,
                .open = true,
                .due = true,
                .checks_left = kReceiptChecks + under_way_ms / CheckInterval(options_).count()};
    WriteNext(lane);
  }
}

void PeerLink::CancelStreams() {
  MutexLock lock(&mu_);
  Break();
  for (Lane& lane : lanes_) {
    if (lane.stream != nullptr) lane.stream->Cancel();
    End(&lane);
  }
}

PeerLink::Failure PeerLink::AwaitDone() {
  MutexLock lock(&mu_);
  while (!AllDone()) changed_.Wait(&mu_);
  if (failure_.reason.empty()) failure_.reason = "the stream was cancelled";
  return failure_;
}

void PeerLink::Post(Event event) {
  MutexLock lock(&mu_);
  if (!stopping_) sink_->Post(std::move(event));
}

void PeerLink::PostUp() {
  reported_ = Reported::kUp;
  MutexLock lock(&mu_);
  if (!stopping_) sink_->Post(LinkUp{peer_.id, hello_.sender.protocol_version});
}

void PeerLink::PostDown(bool refused) {
  reported_ = refused ? Reported::kDownRefused : Reported::kDown;
  Post(LinkDown{peer_.id, refused});
}

void PeerLink::Report(const std::string& text) {
  if (text == last_report_) return;
  last_report_ = text;
  if (notice_) notice_(text);
}

absl::Status PeerLink::CheckHello(const Hello& hello) const {
  const absl::Status status = gate_->Check(hello);
  if (!status.ok() || hello.sender.node == peer_.id) return status;
  return absl::FailedPreconditionError(
      fmt::format("{} answers at the address of {}: correct the addresses of the members",
                  hello.sender.name, peer_.name));
}

absl::Status PeerLink::TakeAnswer(const Answer& answer, Lane* lane) {
  if (const auto* receipt = std::get_if<Receipt>(&answer)) {
    Receipts& receipts = lane->receipts;
    if (!receipts.open || receipts.due || receipt->number != receipts.number) {
      return absl::InvalidArgumentError("a receipt that was not asked for");
    }
    receipts.open = false;
    return absl::OkStatus();
  }
  if (lane->accepted) return absl::InvalidArgumentError("a second hello in answer");
  lane->accepted = true;
  hello_ = std::get<Hello>(answer);
  return absl::OkStatus();
}

void PeerLink::OnAnswer(size_t index, grpc::ByteBuffer* bytes) {
  const absl::StatusOr<Answer> answer = DecodeAnswer(bytes);
  absl::Status status = answer.status();
  if (status.ok() && std::holds_alternative<Hello>(*answer)) {
    status = CheckHello(std::get<Hello>(*answer));
  }
  MutexLock lock(&mu_);
  if (broken_) return;
  if (status.ok()) status = TakeAnswer(*answer, &lanes_[index]);
  if (!status.ok()) {
    Fail(MessageOf(status), true);
    Break();
  }
  changed_.SignalAll();
}

void PeerLink::OnWritten(size_t index, bool ok) {
  MutexLock lock(&mu_);
  Lane& lane = lanes_[index];
  lane.writing = false;
  lane.writing_bytes = 0;
  // A write fails only on a stream that is ending, and the end is announced by the read.
  if (ok) WriteNext(&lane);
}

void PeerLink::OnEnded(size_t index) {
  MutexLock lock(&mu_);
  End(&lanes_[index]);
  Break();
}

void PeerLink::OnDone(size_t index, const grpc::Status& status) {
  MutexLock lock(&mu_);
  delete lanes_[index].stream;
  lanes_[index].stream = nullptr;
  if (status.ok()) {
    Fail("it ended the stream", false);
  } else if (status.error_code() != grpc::StatusCode::CANCELLED) {
    Fail(status.error_message(), IsRefusal(status.error_code()));
  }
  changed_.SignalAll();
}

void PeerLink::Break() {
  broken_ = true;
  up_ = false;
  for (Lane& lane : lanes_) {
    lane.waiting.clear();
    lane.waiting_bytes = 0;
  }
  changed_.SignalAll();
}

void PeerLink::End(Lane* lane) {
  if (lane->ended) return;
  lane->ended = true;
  lane->stream->Release();
}

void PeerLink::Fail(const std::string& reason, bool refusal) {
  if (failure_.reason.empty() || (refusal && !failure_.refusal)) failure_ = {reason, refusal};
}

void PeerLink::WriteNext(Lane* lane) {
  if (!up_ || lane->ended || lane->writing) return;
  Receipts& receipts = lane->receipts;
  if (receipts.due) {
    receipts.due = false;
    lane->writing = true;
    lane->stream->Write(EncodeReceiptWanted({receipts.number}));
    return;
  }
  if (lane->waiting.empty()) return;
  std::vector<Message> batch;
  size_t bytes = 0;
  while (!lane->waiting.empty()) {
    const size_t next = WireBytes(lane->waiting.front());
    if (!batch.empty() && bytes + next > kBatchBytesMax) break;
    bytes += next;
    batch.push_back(std::move(lane->waiting.front()));
    lane->waiting.pop_front();
  }
  lane->waiting_bytes -= bytes;
  lane->writing_bytes = bytes;
  lane->writing = true;
  receipts.owed = true;
  lane->stream->Write(EncodeMessages(batch));
}

bool PeerLink::AllDone() const {
  return lanes_[kControl].stream == nullptr && lanes_[kBulk].stream == nullptr;
}

}  // namespace skein
