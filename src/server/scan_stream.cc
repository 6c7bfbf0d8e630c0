#include "server/scan_stream.h"

#include <thread>
#include <utility>

#include "server/proto_error.h"

namespace skein {
namespace {

constexpr size_t kMessageBytes = 256 << 10;

}  // namespace

ScanStream::ScanStream(KvBackend* backend, const v1::ScanRequest& request,
                       std::function<void()> ended)
    : backend_(backend), request_(request), ended_(std::move(ended)) {}

void ScanStream::Refuse(const absl::Status& status) { Finish(ToGrpcStatus(status)); }

void ScanStream::Start() {
  {
    MutexLock lock(&mu_);
    running_ = true;
  }
  const auto begin = [this](const absl::Status& status) {
    if (status.ok()) {
      std::thread([this] { Run(); }).detach();
      return;
    }
    Refuse(status);
    MutexLock lock(&mu_);
    running_ = false;
    changed_.SignalAll();
  };
  if (backend_->IsFresh(request_.read())) {
    begin(absl::OkStatus());
  } else {
    backend_->WhenFresh(request_.read(), begin);
  }
}

bool ScanStream::Send() {
  {
    MutexLock lock(&mu_);
    if (broken_) return false;
    writing_ = true;
  }
  backend_->FillNode(response_.mutable_node());
  StartWrite(&response_);
  MutexLock lock(&mu_);
  while (writing_) changed_.Wait(&mu_);
  response_.clear_items();
  return !broken_;
}

void ScanStream::Run() {
  ScanSpec spec;
  spec.start = request_.start();
  spec.end = request_.end();
  spec.prefix = request_.prefix();
  spec.limit = request_.limit();
  spec.reverse = request_.reverse();
  spec.keys_only = request_.keys_only() || request_.count_only();
  uint64_t count = 0;
  size_t bytes = 0;
  bool sent_last = true;
  auto scanned = backend_->state().Scan(spec, [&](const KeyValueView& item) {
    response_.set_count(++count);
    if (request_.count_only()) {
      MutexLock lock(&mu_);
      return !broken_;
    }
    v1::KeyValue* out = response_.add_items();
    out->set_key(item.key.data(), item.key.size());
    out->set_value(item.value.data(), item.value.size());
    out->set_version(item.version.value());
    bytes += item.key.size() + item.value.size();
    if (bytes < kMessageBytes) return true;
    bytes = 0;
    sent_last = Send();
    return sent_last;
  });
  if (scanned.ok() && sent_last) Send();  // the rest, and the count
  Finish(ToGrpcStatus(scanned.status()));
  MutexLock lock(&mu_);
  running_ = false;
  changed_.SignalAll();
}

void ScanStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (!ok) broken_ = true;
  changed_.SignalAll();
}

void ScanStream::OnCancel() {
  MutexLock lock(&mu_);
  broken_ = true;
}

void ScanStream::OnDone() {
  {
    MutexLock lock(&mu_);
    while (running_) changed_.Wait(&mu_);  // the thread has called Finish and is about to return
  }
  ended_();
  delete this;
}

}  // namespace skein
