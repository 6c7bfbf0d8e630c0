#include "server/pipeline_stream.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "replication/command.h"
#include "server/proto_error.h"

namespace skein {
namespace {

// What one stream may have under way.
constexpr size_t kUnansweredMax = 16384;
constexpr size_t kOutboxBytesMax = 16 << 20;
// Writes of one batch are proposed together up to this size, so that no entry outgrows what peers
// take in one message.
constexpr size_t kEntryBytes = 1 << 20;
// Answers in one message, in bytes; a single larger one still travels.
constexpr size_t kMessageBytesMax = 1 << 20;

bool Same(const v1::ReadOptions& a, const v1::ReadOptions& b) {
  return a.consistency() == b.consistency() && a.at_least_revision() == b.at_least_revision() &&
         a.max_staleness_ms() == b.max_staleness_ms() && a.wait_ms() == b.wait_ms();
}

bool Same(const v1::WriteOptions& a, const v1::WriteOptions& b) {
  return a.ack() == b.ack() && a.wait_ms() == b.wait_ms();
}

}  // namespace

std::shared_ptr<PipelineStream> PipelineStream::Start(KvBackend* backend) {
  std::shared_ptr<PipelineStream> stream(new PipelineStream(backend));
  stream->self_ = stream;
  MutexLock lock(&stream->mu_);
  stream->Send();
  stream->StartRead(&stream->request_);
  return stream;
}

void PipelineStream::Drain() {
  MutexLock lock(&mu_);
  draining_ = true;
  MaybeFinish();
}

void PipelineStream::OnReadDone(bool ok) {
  if (!ok) {
    MutexLock lock(&mu_);
    reads_ended_ = true;
    MaybeFinish();
    return;
  }
  {
    MutexLock lock(&mu_);
    if (finished_) return;  // the client knows that this is not taken
    unanswered_ += static_cast<size_t>(request_.requests_size());
  }
  Handle();
  MutexLock lock(&mu_);
  MaybeFinish();
  if (finished_ || draining_) return;
  paused_ = unanswered_ > kUnansweredMax || outbox_bytes_ > kOutboxBytesMax;
  if (!paused_) StartRead(&request_);
}

void PipelineStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (!ok) return;  // OnCancel or the end of reads follows
  Flush();
  if (paused_ && !finished_ && !draining_ && unanswered_ <= kUnansweredMax &&
      outbox_bytes_ <= kOutboxBytesMax) {
    paused_ = false;
    StartRead(&request_);
  }
  MaybeFinish();
}

void PipelineStream::OnCancel() {
  MutexLock lock(&mu_);
  if (finished_) return;
  finished_ = true;
  Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the stream was cancelled"));
}

void PipelineStream::OnDone() {
  std::shared_ptr<PipelineStream> last;
  MutexLock lock(&mu_);  // who held it before is done with it
  last = std::move(self_);
}

void PipelineStream::MaybeFinish() {
  if (finished_ || writing_ || unanswered_ > 0) return;
  if (reads_ended_) {
    finished_ = true;
    Finish(grpc::Status::OK);
  } else if (draining_) {
    finished_ = true;
    Finish(ToGrpcStatus(backend_->StoppingError()));
  }
}

void PipelineStream::Handle() {
  Responses now;
  std::vector<ReadGroup> reads;
  std::vector<WriteGroup> writes;
  for (v1::Request& request : *request_.mutable_requests()) {
    absl::Status status = InvalidField("the request names no operation");
    switch (request.op_case()) {
      case v1::Request::kGet:
        status = backend_->Check(request.get());
        if (status.ok()) HandleRead(&request, request.get().read(), &reads, &now);
        break;
      case v1::Request::kBatchGet:
        status = backend_->Check(request.batch_get());
        if (status.ok()) HandleRead(&request, request.batch_get().read(), &reads, &now);
        break;
      case v1::Request::kPut:
        status = backend_->Check(request.put());
        if (status.ok()) HandleWrite(&request, request.put().write(), &writes);
        break;
      case v1::Request::kDelete:
        status = backend_->Check(request.delete_());
        if (status.ok()) HandleWrite(&request, request.delete_().write(), &writes);
        break;
      case v1::Request::OP_NOT_SET:
        break;
    }
    if (status.ok()) continue;
    v1::Response& response = now.emplace_back();
    response.set_id(request.id());
    FillError(status, response.mutable_error());
  }
  for (WriteGroup& group : writes) Propose(std::move(group));
  for (ReadGroup& group : reads) ReadLater(std::move(group));
  if (!now.empty()) Answer(std::move(now));
}

void PipelineStream::Execute(const v1::Request& request, v1::Response* response) const {
  response->set_id(request.id());
  const absl::Status status =
      request.has_get() ? backend_->Get(request.get(), response->mutable_get())
                        : backend_->BatchGet(request.batch_get(), response->mutable_batch_get());
  if (!status.ok()) FillError(status, response->mutable_error());
}

void PipelineStream::HandleRead(v1::Request* request, const v1::ReadOptions& read,
                                std::vector<ReadGroup>* later, Responses* now) {
  if (backend_->IsFresh(read)) {
    Execute(*request, &now->emplace_back());
    return;
  }
  auto group = std::find_if(later->begin(), later->end(),
                            [&read](const ReadGroup& g) { return Same(g.options, read); });
  if (group == later->end()) {
    later->push_back({read, {}});
    group = later->end() - 1;
  }
  group->requests.emplace_back().Swap(request);
}

void PipelineStream::ReadLater(ReadGroup group) {
  const v1::ReadOptions options = group.options;
  backend_->WhenFresh(
      options, [stream = shared_from_this(), group = std::move(group)](const absl::Status& status) {
        Responses responses(group.requests.size());
        for (size_t i = 0; i < responses.size(); ++i) {
          if (status.ok()) {
            stream->Execute(group.requests[i], &responses[i]);
          } else {
            responses[i].set_id(group.requests[i].id());
            FillError(status, responses[i].mutable_error());
          }
        }
        stream->Answer(std::move(responses));
      });
}

void PipelineStream::HandleWrite(v1::Request* request, const v1::WriteOptions& options,
                                 std::vector<WriteGroup>* groups) {
  auto group = std::find_if(groups->begin(), groups->end(), [&options](const WriteGroup& g) {
    return g.payload.size() < kEntryBytes && Same(g.options, options);
  });
  if (group == groups->end()) {
    groups->push_back({options, {}, {}, false});
    group = groups->end() - 1;
  }
  if (request->has_put()) {
    AppendPut(&group->payload, request->put().key(), request->put().value());
  } else {
    AppendDelete(&group->payload, request->delete_().key());
    group->has_deletes = true;
  }
  group->ids.emplace_back(request->id(), request->has_delete_());
}

void PipelineStream::Propose(WriteGroup group) {
  const auto count = static_cast<uint32_t>(group.ids.size());
  backend_->Write(std::move(group.payload), count, group.has_deletes, group.options,
                  [stream = shared_from_this(),
                   ids = std::move(group.ids)](absl::StatusOr<ProposalResult> result) {
                    Responses responses(ids.size());
                    for (size_t i = 0; i < ids.size(); ++i) {
                      v1::Response& response = responses[i];
                      response.set_id(ids[i].first);
                      if (!result.ok()) {
                        FillError(result.status(), response.mutable_error());
                        continue;
                      }
                      const Revision revision = result->first_revision + i;
                      const auto reached = static_cast<v1::AckLevel>(result->reached);
                      if (ids[i].second) {
                        v1::DeleteResponse* deleted = response.mutable_delete_();
                        deleted->set_revision(revision.value());
                        deleted->set_reached(reached);
                        deleted->set_deleted(std::binary_search(result->deleted.begin(),
                                                                result->deleted.end(), revision));
                      } else {
                        response.mutable_put()->set_revision(revision.value());
                        response.mutable_put()->set_reached(reached);
                      }
                    }
                    stream->Answer(std::move(responses));
                  });
}

void PipelineStream::Answer(Responses responses) {
  MutexLock lock(&mu_);
  unanswered_ -= responses.size();
  if (finished_) return;
  for (v1::Response& response : responses) {
    outbox_bytes_ += response.ByteSizeLong();
    outbox_.add_responses()->Swap(&response);
  }
  Flush();
  MaybeFinish();
}

void PipelineStream::Flush() {
  if (writing_ || finished_ || outbox_.responses_size() == 0) return;
  sending_.Clear();
  if (outbox_bytes_ <= kMessageBytesMax) {
    sending_.Swap(&outbox_);
    outbox_bytes_ = 0;
  } else {
    // Large answers: one message at a time, so that none grows over all bounds.
    size_t bytes = 0;
    int taken = 0;
    while (taken < outbox_.responses_size() && (taken == 0 || bytes < kMessageBytesMax)) {
      bytes += outbox_.responses(taken).ByteSizeLong();
      sending_.add_responses()->Swap(outbox_.mutable_responses(taken++));
    }
    outbox_.mutable_responses()->DeleteSubrange(0, taken);
    outbox_bytes_ -= bytes;
  }
  Send();
}

void PipelineStream::Send() {
  backend_->FillNode(sending_.mutable_node());
  writing_ = true;
  StartWrite(&sending_);
}

}  // namespace skein
