#include "client/wire.h"

#include <google/protobuf/arena.h>
#include <grpcpp/alarm.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <utility>

#include "client/call_status.h"
#include "common/check.h"
#include "skein/v1/cluster.grpc.pb.h"
#include "skein/v1/kv.pb.h"

namespace skein::client {
namespace {

constexpr char kPipelineMethod[] = "/skein.v1.Kv/Pipeline";

gpr_timespec AfterMicros(uint64_t micros) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(static_cast<int64_t>(micros), GPR_TIMESPAN));
}

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// A slice that owns the string, so that its bytes are not copied.
grpc::ByteBuffer BufferOf(std::string bytes) {
  auto* owned = new std::string(std::move(bytes));
  grpc::Slice slice(
      owned->data(), owned->size(), [](void* p) { delete static_cast<std::string*>(p); }, owned);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

// A tag of the completion queue.
class Wire::Event {
 public:
  virtual ~Event() = default;
  virtual void Proceed(bool ok) = 0;
};

struct Wire::Queue {
  // The alarm that ends a wait in Poll.
  class WakeEvent final : public Event {
   public:
    explicit WakeEvent(std::atomic<bool>* set) : set_(set) {}
    void Proceed(bool) override { set_->store(false); }

   private:
    std::atomic<bool>* const set_;
  };

  explicit Queue(std::atomic<bool>* wake_set) : wake_event(wake_set) {}

  grpc::CompletionQueue cq;
  grpc::Alarm alarm;
  WakeEvent wake_event;
};

class Wire::Stream {
 public:
  Stream(Wire* wire, size_t slot, const std::string& address)
      : wire_(wire), slot_(slot), stub_(wire->channels_->Get(address)) {
    call_ = stub_.PrepareCall(&context_, kPipelineMethod, &wire_->queue_->cq);
    Expect();
    call_->StartCall(&started_);
  }

  void Write(std::string batch) {
    SKEIN_CHECK(open_ && !writing_);
    writing_ = true;
    Expect();
    call_->Write(BufferOf(std::move(batch)), &written_);
  }

  void Cancel() { context_.TryCancel(); }

 private:
  class Step final : public Event {
   public:
    Step(Stream* stream, void (Stream::*then)(bool)) : stream_(stream), then_(then) {}
    void Proceed(bool ok) override {
      Stream* const stream = stream_;  // this object is a part of it, and may go with it
      --stream->outstanding_;
      --stream->wire_->events_expected_;
      (stream->*then_)(ok);
      if (stream->outstanding_ == 0) delete stream;
    }

   private:
    Stream* const stream_;
    void (Stream::*const then_)(bool);
  };

  void Expect() {
    ++outstanding_;
    ++wire_->events_expected_;
  }

  void OnStarted(bool ok) {
    if (!ok) return Finish();
    Read();
  }

  void Read() {
    Expect();
    call_->Read(&incoming_, &was_read_);
  }

  void OnRead(bool ok) {
    if (!ok) return Finish();
    google::protobuf::Arena arena;
    auto* answers = google::protobuf::Arena::CreateMessage<v1::PipelineResponse>(&arena);
    bool parsed = false;
    {
      grpc::ProtoBufferReader reader(&incoming_);
      parsed = answers->ParseFromZeroCopyStream(&reader);
    }
    incoming_.Clear();
    if (!parsed) Cancel();
    Read();
    if (!parsed || wire_->quiet_) return;
    const bool first = !std::exchange(open_, true);
    if (first) wire_->events_->OnOpen(slot_);
    wire_->events_->OnAnswers(slot_, answers);
  }

  void OnWritten(bool ok) {
    writing_ = false;
    // A failed write is followed by a failed read, which closes the stream.
    if (ok && open_ && !wire_->quiet_) wire_->events_->OnWritten(slot_);
  }

  void Finish() {
    if (open_ && !wire_->quiet_) wire_->events_->OnBroken(slot_);
    open_ = false;
    Expect();
    call_->Finish(&status_, &finished_);
  }

  void OnFinished(bool) {
    wire_->streams_[slot_] = nullptr;
    if (wire_->quiet_) return;
    wire_->events_->OnClosed(slot_, status_.ok()
                                        ? absl::UnavailableError("the node ended the stream")
                                        : StatusOfCall(status_));
  }

  Wire* const wire_;
  const size_t slot_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::ByteBuffer incoming_;
  grpc::Status status_;
  int outstanding_ = 0;
  bool open_ = false;
  bool writing_ = false;
  Step started_{this, &Stream::OnStarted};
  Step was_read_{this, &Stream::OnRead};
  Step written_{this, &Stream::OnWritten};
  Step finished_{this, &Stream::OnFinished};
};

class Wire::StatusCall final : public Wire::Event {
 public:
  StatusCall(Wire* wire, size_t slot, const std::string& address, uint64_t timeout_us)
      : wire_(wire), slot_(slot), stub_(v1::Cluster::NewStub(wire->channels_->Get(address))) {
    context_.set_deadline(AfterMicros(timeout_us));
    call_ = stub_->AsyncStatus(&context_, v1::StatusRequest(), &wire_->queue_->cq);
    ++wire_->events_expected_;
    wire_->status_calls_.push_back(this);
    call_->Finish(&response_, &status_, this);
  }

  void Cancel() { context_.TryCancel(); }

  void Proceed(bool) override {
    --wire_->events_expected_;
    std::vector<StatusCall*>& calls = wire_->status_calls_;
    calls.erase(std::find(calls.begin(), calls.end(), this));
    if (!wire_->quiet_) wire_->events_->OnStatus(slot_, ToStatus(status_), response_);
    delete this;
  }

 private:
  Wire* const wire_;
  const size_t slot_;
  std::unique_ptr<v1::Cluster::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::StatusResponse>> call_;
  v1::StatusResponse response_;
  grpc::Status status_;
};

Wire::Wire(std::shared_ptr<ChannelPool> channels, WireEvents* events)
    : queue_(std::make_unique<Queue>(&wake_set_)),
      channels_(std::move(channels)),
      events_(events) {}

Wire::~Wire() { SKEIN_CHECK(quiet_); }

void Wire::Open(size_t slot, const std::string& address) {
  if (streams_.size() <= slot) streams_.resize(slot + 1, nullptr);
  SKEIN_CHECK(streams_[slot] == nullptr);
  streams_[slot] = new Stream(this, slot, address);
}

void Wire::Write(size_t slot, std::string batch) { streams_[slot]->Write(std::move(batch)); }

void Wire::Cancel(size_t slot) {
  if (slot < streams_.size() && streams_[slot] != nullptr) streams_[slot]->Cancel();
}

void Wire::AskStatus(size_t slot, const std::string& address, uint64_t timeout_us) {
  new StatusCall(this, slot, address, timeout_us);  // owns itself until it is answered
}

void Wire::Poll(uint64_t timeout_us) {
  void* tag = nullptr;
  bool ok = false;
  if (queue_->cq.AsyncNext(&tag, &ok, AfterMicros(timeout_us)) ==
      grpc::CompletionQueue::GOT_EVENT) {
    static_cast<Event*>(tag)->Proceed(ok);
  }
}

void Wire::Wake() {
  if (wake_set_.exchange(true)) return;  // one is on its way
  // gRPC rounds deadlines up to the next millisecond; only what is long past fires at once.
  queue_->alarm.Set(&queue_->cq, gpr_inf_past(GPR_CLOCK_MONOTONIC), &queue_->wake_event);
}

void Wire::Shutdown() {
  quiet_ = true;
  for (Stream* stream : streams_) {
    if (stream != nullptr) stream->Cancel();
  }
  for (StatusCall* call : status_calls_) call->Cancel();
  while (events_expected_ > 0 || wake_set_.load()) Poll(100'000);
  queue_->cq.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_->cq.Next(&tag, &ok)) static_cast<Event*>(tag)->Proceed(ok);
}

}  // namespace skein::client
