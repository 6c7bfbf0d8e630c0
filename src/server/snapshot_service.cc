#include "server/snapshot_service.h"

#include <fmt/format.h>

#include <thread>
#include <utility>
#include <variant>

#include "common/error.h"
#include "replication/grpc/wire_codec.h"
#include "server/proto_error.h"

namespace skein {
namespace {

constexpr std::chrono::seconds kKept(60);

absl::StatusOr<Hello> HelloIn(const v1::FetchRequest& request) {
  const grpc::Slice slice(request.hello());
  grpc::ByteBuffer bytes(&slice, 1);
  absl::StatusOr<Envelope> envelope = DecodeEnvelope(&bytes);
  if (!envelope.ok()) return envelope.status();
  if (const Hello* hello = std::get_if<Hello>(&*envelope)) return *hello;
  return absl::InvalidArgumentError("a request for a snapshot without a hello");
}

absl::Status Gone() { return absl::CancelledError("the receiver is gone"); }

}  // namespace

// Walks the files on a thread of its own, at the pace at which they are taken.
class SnapshotService::Stream final
    : public grpc::ServerBidiReactor<v1::FetchRequest, v1::FetchResponse> {
 public:
  explicit Stream(SnapshotService* service) : service_(service) { StartRead(&incoming_); }

  void Start(const std::string& receiver) ABSL_LOCKS_EXCLUDED(mu_) {
    receiver_ = receiver;
    {
      MutexLock lock(&mu_);
      if (ended_) return;
      running_ = true;
      told_of_taken_ = request_.tells_taken();
    }
    std::thread([this] { Run(); }).detach();
  }
  // Before it was started.
  void Refuse(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      if (std::exchange(ended_, true)) return;
    }
    Finish(ToGrpcStatus(status));
  }
  // The thread ends, if it was started; else the stream does.
  void Break() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      broken_ = true;
      changed_.SignalAll();
      if (running_ || std::exchange(ended_, true)) return;
    }
    Finish(ToGrpcStatus(Gone()));
  }

  // This object lives at least until it returns, also if the stream has ended.
  void OnReadDone(bool ok) override {
    const bool first = !std::exchange(requested_, true);
    if (first && ok) {
      request_ = incoming_;
      service_->OnRequest(request_, this);
    } else if (first) {
      Refuse(Gone());
    }
    {
      MutexLock lock(&mu_);
      if (!first && ok) taken_ = incoming_.taken();
      if (!ok) told_of_taken_ = false;
      changed_.SignalAll();
      if (!ok || ended_) return;
    }
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    writing_ = false;
    if (!ok) broken_ = true;
    changed_.SignalAll();
  }
  void OnCancel() override { Break(); }
  void OnDone() override {
    {
      MutexLock lock(&mu_);
      while (running_) changed_.Wait(&mu_);  // the thread has called Finish and is about to return
    }
    service_->Release(this);
  }

 private:
  void Run() {
    absl::Status status = SendSnapshot();
    status.Update(AwaitWritten());
    if (!status.ok() && service_->notice_) {
      service_->notice_(fmt::format("a snapshot for {} ended: {}", receiver_, MessageOf(status)));
    }
    {
      MutexLock lock(&mu_);
      ended_ = true;
    }
    Finish(ToGrpcStatus(status));
    MutexLock lock(&mu_);
    running_ = false;
    changed_.SignalAll();
  }

  absl::Status SendSnapshot() {
    std::shared_ptr<const Snapshot> snapshot = service_->store_->Find(request_.snapshot_id());
    const bool resumed = snapshot != nullptr && snapshot->manifest().base.point.at.index >=
                                                    Index(request_.at_least_index());
    if (!resumed) {
      auto made = service_->store_->Get(Index(request_.at_least_index()));
      if (!made.ok()) return made.status();
      snapshot = *std::move(made);
    }
    service_->Keep(snapshot);
    if (resumed && request_.suspect()) {
      if (absl::Status sound = snapshot->Verify(request_.file()); !sound.ok()) return sound;
    }
    v1::FetchResponse response;
    response.set_manifest(EncodeSnapshotManifest(snapshot->manifest()));
    response.set_hears_taken(true);
    if (absl::Status sent = Send(std::move(response)); !sent.ok()) return sent;
    bool wanted = !resumed || request_.file().empty();
    for (const SnapshotFile& file : snapshot->manifest().files) {
      const bool first = !wanted && file.name == request_.file();
      wanted = wanted || first;
      if (!wanted) continue;
      absl::Status sent = SendFile(*snapshot, file, first ? request_.offset() : 0);
      if (!sent.ok()) return sent;
    }
    return absl::OkStatus();
  }

  absl::Status SendFile(const Snapshot& snapshot, const SnapshotFile& file, uint64_t offset) {
    while (offset < file.bytes) {
      if (absl::Status taken = AwaitTaken(); !taken.ok()) return taken;
      const uint64_t bytes = service_->pace_.Take(file.bytes - offset);
      if (bytes == 0) return absl::CancelledError("stopping");
      absl::StatusOr<SnapshotPart> part = snapshot.Read(file.name, offset, bytes);
      if (!part.ok()) return part.status();
      v1::FetchResponse response;
      v1::SnapshotPart* out = response.mutable_part();
      out->set_file(file.name);
      out->set_offset(offset);
      out->set_checksum(part->checksum);
      offset += part->bytes.size();
      sent_ += part->bytes.size();
      out->set_bytes(std::move(part->bytes));
      if (absl::Status sent = Send(std::move(response)); !sent.ok()) return sent;
    }
    return absl::OkStatus();
  }

  // Waits until the response before was taken; the next can be made ready while this one is sent.
  absl::Status Send(v1::FetchResponse response) ABSL_LOCKS_EXCLUDED(mu_) {
    if (absl::Status written = AwaitWritten(); !written.ok()) return written;
    response_ = std::move(response);
    {
      MutexLock lock(&mu_);
      writing_ = true;
    }
    StartWrite(&response_);
    return absl::OkStatus();
  }

  absl::Status AwaitWritten() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    while (writing_) changed_.Wait(&mu_);
    return broken_ ? Gone() : absl::OkStatus();
  }

  // Until the receiver has room for more.
  absl::Status AwaitTaken() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    while (!broken_ && told_of_taken_ && sent_ > taken_ + service_->limits_.untaken_bytes_max) {
      changed_.Wait(&mu_);
    }
    return broken_ ? Gone() : absl::OkStatus();
  }

  SnapshotService* const service_;
  v1::FetchRequest incoming_;   // owned by the read under way
  bool requested_ = false;      // by the first message, owned by the reads
  v1::FetchRequest request_;    // constant once the thread runs
  std::string receiver_;        // likewise
  v1::FetchResponse response_;  // owned by the thread, but for a write under way
  uint64_t sent_ = 0;           // bytes of parts, owned by the thread

  Mutex mu_;
  CondVar changed_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  bool running_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool told_of_taken_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t taken_ ABSL_GUARDED_BY(mu_) = 0;  // of `sent_`
};

SnapshotService::SnapshotService(const SnapshotLimits& limits, SnapshotStore* store,
                                 const KvStateMachine* state, const HelloGate* gate,
                                 PeerNotice notice)
    : limits_(limits),
      store_(store),
      gate_(gate),
      notice_(std::move(notice)),
      pace_(limits, state) {}

SnapshotService::~SnapshotService() { Stop(); }

grpc::ServerBidiReactor<v1::FetchRequest, v1::FetchResponse>* SnapshotService::Fetch(
    grpc::CallbackServerContext* /*context*/) {
  auto* stream = new Stream(this);
  MutexLock lock(&mu_);
  streams_.insert(stream);
  if (stopping_) stream->Break();
  return stream;
}

void SnapshotService::OnRequest(const v1::FetchRequest& request, Stream* stream) {
  const absl::StatusOr<Hello> hello = HelloIn(request);
  absl::Status status = hello.ok() ? gate_->Check(*hello) : hello.status();
  if (status.ok()) status = Begin(hello->sender.name, stream);
  if (!status.ok()) {
    stream->Refuse(status);
  } else {
    stream->Start(hello->sender.name);
  }
}

// A node fetches one at a time: it has given up an older stream of its own, of whose end this node
// may not have heard yet.
absl::Status SnapshotService::Begin(const std::string& receiver, Stream* stream) {
  MutexLock lock(&mu_);
  if (stopping_) return absl::UnavailableError("the node is stopping");
  const auto older = sending_.find(receiver);
  if (older != sending_.end()) {
    older->second->Break();
  } else if (sending_.size() >= limits_.at_once_max) {
    return absl::ResourceExhaustedError(
        fmt::format("{} is sending {} snapshots already", gate_->self().name, limits_.at_once_max));
  }
  sending_[receiver] = stream;
  return absl::OkStatus();
}

void SnapshotService::Keep(std::shared_ptr<const Snapshot> snapshot) {
  MutexLock lock(&mu_);
  kept_ = {std::move(snapshot), std::chrono::steady_clock::now() + kKept};
}

void SnapshotService::Release(Stream* stream) {
  MutexLock lock(&mu_);
  streams_.erase(stream);
  std::erase_if(sending_, [stream](const auto& sending) { return sending.second == stream; });
  kept_.until = std::chrono::steady_clock::now() + kKept;
  delete stream;
  gone_.SignalAll();
}

void SnapshotService::KeepHouse() {
  pace_.Look();
  std::shared_ptr<const Snapshot> dropped;  // outside of the lock: it removes files
  MutexLock lock(&mu_);
  const bool idle = streams_.empty() && std::chrono::steady_clock::now() > kept_.until;
  if (idle) dropped.swap(kept_.snapshot);
}

void SnapshotService::Stop() {
  pace_.Stop();
  MutexLock lock(&mu_);
  stopping_ = true;
  for (Stream* stream : streams_) stream->Break();
  while (!streams_.empty()) gone_.Wait(&mu_);
}

}  // namespace skein
