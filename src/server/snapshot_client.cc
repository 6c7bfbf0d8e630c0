#include "server/snapshot_client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "common/error.h"
#include "replication/grpc/wire_codec.h"

namespace skein {
namespace {

constexpr std::chrono::milliseconds kTellInterval(500);
// In a row, without any new byte, or for a file that is not sound.
constexpr int kVainAttemptsMax = 3;
constexpr std::chrono::milliseconds kAttemptPause(200);
// The source is told after so many bytes that they are taken.
constexpr uint64_t kTakenStepBytes = 1 << 20;

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kHttp2FrameBytes);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// What the source says will not change by asking it again.
bool IsFinal(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status) ||
         absl::IsUnimplemented(status) || absl::IsInvalidArgument(status);
}

}  // namespace

SnapshotClient::SnapshotClient(const HelloGate* gate, IncomingSnapshot* incoming, EventSink* sink,
                               const std::map<std::string, std::string>& own_addresses)
    : gate_(gate), incoming_(incoming), sink_(sink) {
  for (const auto& [name, address] : own_addresses) own_addresses_[NodeIdOf(name)] = address;
  thread_ = std::thread([this] { Run(); });
}

SnapshotClient::~SnapshotClient() { Stop(); }

void SnapshotClient::Fetch(const SnapshotFetch& fetch) {
  MutexLock lock(&mu_);
  next_ = fetch;
  if (context_ != nullptr) context_->TryCancel();
  changed_.SignalAll();
}

void SnapshotClient::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (context_ != nullptr) context_->TryCancel();
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool SnapshotClient::IsOver() const {
  MutexLock lock(&mu_);
  return stopping_ || next_.has_value();
}

void SnapshotClient::Run() {
  for (;;) {
    SnapshotFetch fetch;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && !next_) changed_.Wait(&mu_);
      if (stopping_) return;
      fetch = *std::exchange(next_, std::nullopt);
    }
    absl::StatusOr<LogBase> base = FetchWhole(fetch);
    MutexLock lock(&mu_);
    if (!stopping_ && !next_) sink_->Post(SnapshotFetched{fetch.id, std::move(base)});
  }
}

absl::StatusOr<LogBase> SnapshotClient::FetchWhole(const SnapshotFetch& fetch) {
  progress_ = {fetch.id, Index(), incoming_->bytes_done(), incoming_->bytes_total()};
  Tell(/*at_once=*/true);
  // One that was received before a restart, and not installed.
  const std::optional<LogBase> there = incoming_->complete();
  if (there && there->point.at.index >= fetch.at_least) return *there;
  const auto own = own_addresses_.find(fetch.source);
  const auto source = v1::Snapshots::NewStub(
      ChannelTo(own == own_addresses_.end() ? fetch.source_address : own->second));
  for (int vain = 0; vain < kVainAttemptsMax && !IsOver();) {
    const uint64_t before = incoming_->bytes_done();
    absl::Status status = FetchSome(fetch, source.get());
    if (status.ok()) {
      absl::StatusOr<LogBase> base = incoming_->Finish();
      const bool nothing_left = incoming_->id().empty();
      if (base.ok() || nothing_left || !absl::IsDataLoss(base.status())) return base;
      status = base.status();
    }
    if (IsFinal(status)) return status;
    const auto wanted = incoming_->Next();
    const bool unsound = wanted && wanted->suspect;
    vain = incoming_->bytes_done() > before && !unsound ? 0 : vain + 1;
    if (vain == kVainAttemptsMax) return status;
    MutexLock lock(&mu_);
    if (!stopping_ && !next_) changed_.WaitFor(&mu_, kAttemptPause);
  }
  return absl::CancelledError("another snapshot is fetched");
}

// Until nothing is wanted any more, or the stream ends.
absl::Status SnapshotClient::FetchSome(const SnapshotFetch& fetch, v1::Snapshots::Stub* source) {
  grpc::ClientContext context;
  v1::FetchRequest request;
  request.set_hello(BytesOf(EncodeHello(gate_->HelloTo(fetch.source))));
  request.set_at_least_index(fetch.at_least.value());
  request.set_tells_taken(true);
  if (const auto wanted = incoming_->Next()) {
    request.set_snapshot_id(incoming_->id());
    request.set_file(wanted->file);
    request.set_offset(wanted->offset);
    request.set_suspect(wanted->suspect);
  }
  {
    MutexLock lock(&mu_);
    if (stopping_ || next_) return absl::CancelledError("another snapshot is fetched");
    context_ = &context;
  }
  absl::Status status;
  bool whole = false;
  {
    const auto stream = source->Fetch(&context);
    stream->Write(request);
    v1::FetchRequest receipt;
    uint64_t taken = 0;
    bool heard = false;
    v1::FetchResponse response;
    while (status.ok() && !whole && stream->Read(&response)) {
      status = Take(response);
      whole = status.ok() && !incoming_->Next();
      Tell(response.has_manifest());
      heard = heard || response.hears_taken();
      taken += response.part().bytes().size();
      if (!heard || taken < receipt.taken() + kTakenStepBytes) continue;
      receipt.set_taken(taken);
      stream->Write(receipt);  // if that fails, so does reading
    }
    if (!status.ok() || whole) context.TryCancel();
    const grpc::Status ended = stream->Finish();
    if (status.ok() && !whole) {
      status = ended.ok() ? absl::UnavailableError("the source ended before everything was sent")
                          : absl::Status(static_cast<absl::StatusCode>(ended.error_code()),
                                         ended.error_message());
    }
  }
  MutexLock lock(&mu_);
  context_ = nullptr;
  return status;
}

absl::Status SnapshotClient::Take(const v1::FetchResponse& response) {
  if (response.has_manifest()) {
    const absl::StatusOr<SnapshotManifest> manifest = DecodeSnapshotManifest(response.manifest());
    if (!manifest.ok()) return manifest.status();
    progress_.index = manifest->base.point.at.index;
    const absl::Status begun = incoming_->Begin(*manifest);
    progress_.bytes_done = incoming_->bytes_done();
    progress_.bytes_total = incoming_->bytes_total();
    return begun;
  }
  const v1::SnapshotPart& part = response.part();
  const auto wanted = incoming_->Next();
  if (!wanted || wanted->file != part.file() || wanted->offset != part.offset()) {
    return absl::AbortedError("the source sends what is there already");
  }
  const absl::Status written =
      incoming_->Write(part.file(), part.offset(), part.bytes(), part.checksum());
  progress_.bytes_done = incoming_->bytes_done();
  return written;
}

void SnapshotClient::Tell(bool at_once) {
  const auto now = std::chrono::steady_clock::now();
  if (!at_once && now - told_ < kTellInterval) return;
  told_ = now;
  sink_->Post(progress_);
}

}  // namespace skein
