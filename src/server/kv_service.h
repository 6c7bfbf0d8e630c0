// The Kv service: unary calls, scans, and pipelines.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <vector>

#include "common/mutex.h"
#include "server/kv_backend.h"
#include "server/leader_forwarder.h"
#include "skein/v1/kv.grpc.pb.h"

namespace skein {

class PipelineStream;

class KvService final : public v1::Kv::CallbackService {
 public:
  // The backend outlives the service.
  explicit KvService(KvBackend* backend) : backend_(backend) {}
  // Waits for the scans that are under way.
  ~KvService() override;

  // Lets the pipelines end that there are, and those that still come. Thread-safe.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_);
  // Pipelines that have not ended.
  bool HasPipelines() ABSL_LOCKS_EXCLUDED(mu_);

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::GetResponse* response) override;
  grpc::ServerUnaryReactor* BatchGet(grpc::CallbackServerContext* context,
                                     const v1::BatchGetRequest* request,
                                     v1::BatchGetResponse* response) override;
  grpc::ServerUnaryReactor* Put(grpc::CallbackServerContext* context, const v1::PutRequest* request,
                                v1::PutResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteRequest* request,
                                   v1::DeleteResponse* response) override;
  grpc::ServerWriteReactor<v1::ScanResponse>* Scan(grpc::CallbackServerContext* context,
                                                   const v1::ScanRequest* request) override;
  grpc::ServerBidiReactor<v1::PipelineRequest, v1::PipelineResponse>* Pipeline(
      grpc::CallbackServerContext* context) override;

 private:
  // The leader's address if a write that came to this node should go there instead.
  std::string ForwardTo(const grpc::CallbackServerContext& context) const;

  KvBackend* const backend_;
  LeaderForwarder forwarder_;
  Mutex mu_;
  CondVar scan_ended_;
  int scans_ ABSL_GUARDED_BY(mu_) = 0;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::weak_ptr<PipelineStream>> pipelines_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
