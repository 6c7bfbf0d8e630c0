// One client's Pipeline: takes batches of requests, answers each as soon as it can. What is
// answered while a write is under way goes out together in the next one.
//
// Invariants:
//  1. Every request that was read is answered, unless the stream breaks first.
//  2. What one stream may have under way is bounded; beyond it nothing more is read from it.
//  3. A stream that the node ends with SHUTTING_DOWN has answered every request that was read: what
//     the client has no answer to was never taken.
//  4. The first message comes at once, without a request, and has no answers: it tells the client
//     that its stream is one of these. gRPC's server itself ends what comes while it shuts down, in
//     words that say nothing of what was read.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <vector>

#include "common/mutex.h"
#include "server/kv_backend.h"
#include "skein/v1/kv.pb.h"

namespace skein {

class PipelineStream final
    : public grpc::ServerBidiReactor<v1::PipelineRequest, v1::PipelineResponse>,
      public std::enable_shared_from_this<PipelineStream> {
 public:
  // The stream owns itself until gRPC is done with it and nobody answers it any more.
  static std::shared_ptr<PipelineStream> Start(KvBackend* backend);

  // Reads nothing more, answers what was read, and ends the stream. Thread-safe.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  using Responses = std::vector<v1::Response>;
  // Writes of one batch that share their options, on the way to become one proposal.
  struct WriteGroup {
    v1::WriteOptions options;
    std::string payload;
    std::vector<std::pair<uint64_t, bool>> ids;  // request id, is a delete
    bool has_deletes = false;
  };
  struct ReadGroup {
    v1::ReadOptions options;
    std::vector<v1::Request> requests;
  };

  explicit PipelineStream(KvBackend* backend) : backend_(backend) {}

  void Handle();
  void HandleRead(v1::Request* request, const v1::ReadOptions& read, std::vector<ReadGroup>* later,
                  Responses* now);
  void HandleWrite(v1::Request* request, const v1::WriteOptions& options,
                   std::vector<WriteGroup>* groups);
  void Execute(const v1::Request& request, v1::Response* response) const;
  void ReadLater(ReadGroup group);
  void Propose(WriteGroup group);
  // Sends answers to `requests` requests that were read.
  void Answer(Responses responses) ABSL_LOCKS_EXCLUDED(mu_);
  void Flush() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sends `sending_`, and this node's state with it.
  void Send() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  KvBackend* const backend_;
  v1::PipelineRequest request_;  // owned by the read that is under way
  std::shared_ptr<PipelineStream> self_;

  Mutex mu_;
  v1::PipelineResponse outbox_ ABSL_GUARDED_BY(mu_);
  v1::PipelineResponse sending_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool reads_ended_ ABSL_GUARDED_BY(mu_) = false;
  bool paused_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  size_t unanswered_ ABSL_GUARDED_BY(mu_) = 0;
  size_t outbox_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace skein
