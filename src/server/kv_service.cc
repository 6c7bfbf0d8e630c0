#include "server/kv_service.h"

#include <utility>

#include "common/error.h"
#include "replication/command.h"
#include "server/pipeline_stream.h"
#include "server/proto_error.h"
#include "server/scan_stream.h"

namespace skein {
namespace {

constexpr int kScansMax = 64;

// Checks, waits until the node is fresh enough, reads, answers.
template <typename Request, typename Response, typename Read>
grpc::ServerUnaryReactor* UnaryRead(grpc::CallbackServerContext* context, KvBackend* backend,
                                    const Request* request, Response* response, Read read) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = backend->Check(*request);
  if (!status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }
  auto answer = [=](absl::Status ready) {
    if (ready.ok()) ready = read();
    backend->FillNode(response->mutable_node());
    reactor->Finish(ToGrpcStatus(ready));
  };
  if (backend->IsFresh(request->read())) {
    answer(absl::OkStatus());
  } else {
    backend->WhenFresh(request->read(), answer);
  }
  return reactor;
}

}  // namespace

KvService::~KvService() {
  MutexLock lock(&mu_);
  while (scans_ > 0) scan_ended_.Wait(&mu_);
}

grpc::ServerUnaryReactor* KvService::Get(grpc::CallbackServerContext* context,
                                         const v1::GetRequest* request, v1::GetResponse* response) {
  return UnaryRead(context, backend_, request, response,
                   [this, request, response] { return backend_->Get(*request, response); });
}

grpc::ServerUnaryReactor* KvService::BatchGet(grpc::CallbackServerContext* context,
                                              const v1::BatchGetRequest* request,
                                              v1::BatchGetResponse* response) {
  return UnaryRead(context, backend_, request, response,
                   [this, request, response] { return backend_->BatchGet(*request, response); });
}

std::string KvService::ForwardTo(const grpc::CallbackServerContext& context) const {
  if (context.client_metadata().count(LeaderForwarder::kForwardedKey) > 0) return "";
  const auto leadership = backend_->view().leadership();
  return leadership->role == Role::kLeader ? "" : leadership->reached_at;
}

grpc::ServerUnaryReactor* KvService::Put(grpc::CallbackServerContext* context,
                                         const v1::PutRequest* request, v1::PutResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = backend_->Check(*request);
  if (!status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }
  const std::string leader = ForwardTo(*context);
  if (!leader.empty()) {
    forwarder_.Put(leader, *request, response,
                   [reactor](const grpc::Status& answer) { reactor->Finish(answer); });
    return reactor;
  }
  std::string payload;
  AppendPut(&payload, request->key(), request->value());
  backend_->Write(std::move(payload), 1, false, request->write(),
                  [this, reactor, response](absl::StatusOr<ProposalResult> result) {
                    if (result.ok()) {
                      response->set_revision(result->first_revision.value());
                      response->set_reached(static_cast<v1::AckLevel>(result->reached));
                    }
                    backend_->FillNode(response->mutable_node());
                    reactor->Finish(ToGrpcStatus(result.status()));
                  });
  return reactor;
}

grpc::ServerUnaryReactor* KvService::Delete(grpc::CallbackServerContext* context,
                                            const v1::DeleteRequest* request,
                                            v1::DeleteResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = backend_->Check(*request);
  if (!status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }
  const std::string leader = ForwardTo(*context);
  if (!leader.empty()) {
    forwarder_.Delete(leader, *request, response,
                      [reactor](const grpc::Status& answer) { reactor->Finish(answer); });
    return reactor;
  }
  std::string payload;
  AppendDelete(&payload, request->key());
  backend_->Write(std::move(payload), 1, true, request->write(),
                  [this, reactor, response](absl::StatusOr<ProposalResult> result) {
                    if (result.ok()) {
                      response->set_revision(result->first_revision.value());
                      response->set_reached(static_cast<v1::AckLevel>(result->reached));
                      response->set_deleted(!result->deleted.empty());
                    }
                    backend_->FillNode(response->mutable_node());
                    reactor->Finish(ToGrpcStatus(result.status()));
                  });
  return reactor;
}

grpc::ServerWriteReactor<v1::ScanResponse>* KvService::Scan(grpc::CallbackServerContext*,
                                                            const v1::ScanRequest* request) {
  int scans;
  {
    MutexLock lock(&mu_);
    scans = ++scans_;
  }
  auto* stream = new ScanStream(backend_, *request, [this] {
    MutexLock lock(&mu_);
    --scans_;
    scan_ended_.SignalAll();
  });
  const absl::Status status = backend_->Check(*request);
  if (!status.ok()) {
    stream->Refuse(status);
  } else if (scans > kScansMax) {
    stream->Refuse(MakeError(absl::StatusCode::kResourceExhausted,
                             "too many scans at a time, the limit is " + std::to_string(kScansMax),
                             {.reason = ErrorReason::kQueueFull, .hint = "try again later"}));
  } else {
    stream->Start();
  }
  return stream;
}

grpc::ServerBidiReactor<v1::PipelineRequest, v1::PipelineResponse>* KvService::Pipeline(
    grpc::CallbackServerContext*) {
  const std::shared_ptr<PipelineStream> stream = PipelineStream::Start(backend_);
  MutexLock lock(&mu_);
  std::erase_if(pipelines_, [](const auto& known) { return known.expired(); });
  pipelines_.push_back(stream);
  if (draining_) stream->Drain();
  return stream.get();
}

void KvService::Drain() {
  MutexLock lock(&mu_);
  draining_ = true;
  for (const auto& known : pipelines_) {
    if (const auto stream = known.lock()) stream->Drain();
  }
}

bool KvService::HasPipelines() {
  MutexLock lock(&mu_);
  std::erase_if(pipelines_, [](const auto& known) { return known.expired(); });
  return !pipelines_.empty();
}

}  // namespace skein
