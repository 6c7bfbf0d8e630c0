// A node in this process that answers as scripts say: what the client library and the command line
// are tested against. Speaks real gRPC on a free port of the loopback.
//
// Thread-safe. A node that is stopped refuses connections; Start brings it back on the same port.
#pragma once

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "skein/v1/cluster.grpc.pb.h"
#include "skein/v1/kv.grpc.pb.h"
#include "tests/support/wait.h"

namespace skein {

class FakeNode final : private v1::Kv::Service, private v1::Cluster::Service {
 public:
  // What to do with one request.
  enum class Act { kAnswer, kSwallow, kBreakStream, kAnswerAndEnd };
  // Fills in the response, whose id is set already.
  using Script = std::function<Act(const v1::Request&, v1::Response*)>;
  // An operator's change of the membership, whichever it is.
  struct Change {
    enum class Kind { kAdd, kPromote, kRemove, kMove };
    Kind kind = Kind::kAdd;
    std::string id;
    std::string address;  // kAdd, kMove
    bool promote_when_level = false;
    bool force = false;
  };
  using ChangeScript = std::function<grpc::Status(const Change&, v1::MembersResponse*)>;
  using TransferScript = std::function<grpc::Status(const std::string&, v1::TransferResponse*)>;

  explicit FakeNode(std::string id) : id_(std::move(id)) { Start(); }
  ~FakeNode() override { Stop(); }

  void Start() {
    closing_ = false;
    grpc::ServerBuilder builder;
    const std::string address = port_ == 0 ? "127.0.0.1:0" : this->address();
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<v1::Kv::Service*>(this));
    builder.RegisterService(static_cast<v1::Cluster::Service*>(this));
    builder.SetMaxReceiveMessageSize(64 << 20);
    server_ = builder.BuildAndStart();
  }

  void Stop() {
    if (server_ == nullptr) return;
    closing_ = true;
    BreakStreams();
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  // Ends all streams that are open now.
  void BreakStreams() {
    MutexLock lock(&mu_);
    for (grpc::ServerContext* context : streams_) context->TryCancel();
  }

  // Neither answers nor refuses anything any more, like a process that is stopped.
  void SetSilent(bool silent) { silent_ = silent; }

  void SetScript(Script script) {
    MutexLock lock(&mu_);
    script_ = std::move(script);
  }
  // Whether streams that come are taken; else gRPC's server ends them, as while it shuts down.
  void SetTakesStreams(bool takes) { takes_streams_ = takes; }
  // What kBreakStream and kAnswerAndEnd end a stream with.
  void SetStreamEnd(const grpc::Status& status) {
    MutexLock lock(&mu_);
    stream_end_ = status;
  }
  // Done by every scan when it has sent what it found.
  void BeforeEndOfScan(std::function<void()> then) {
    MutexLock lock(&mu_);
    before_end_of_scan_ = std::move(then);
  }
  void SetOperatorScripts(ChangeScript change, TransferScript transfer) {
    MutexLock lock(&mu_);
    change_ = std::move(change);
    transfer_ = std::move(transfer);
  }
  void SetLeader(const std::string& leader_id, uint64_t term) {
    MutexLock lock(&mu_);
    leader_id_ = leader_id;
    term_ = term;
  }
  // The cluster that it belongs to, in this history.
  void SetCluster(uint64_t cluster_id, uint64_t history = 0) {
    history_ = history;
    cluster_id_ = cluster_id;
  }
  void SetMembers(const std::vector<const FakeNode*>& members) {
    MutexLock lock(&mu_);
    members_.clear();
    for (const FakeNode* node : members) {
      v1::MemberStatus& member = members_.emplace_back();
      member.set_id(node->id());
      member.set_address(node->address());
      member.set_voter(true);
    }
  }
  // The same with all that Status and Members tell. `list` is answered by Members as it is.
  void SetMembers(std::vector<v1::MemberStatus> members, v1::MembersResponse list) {
    MutexLock lock(&mu_);
    members_ = std::move(members);
    list_ = std::move(list);
  }

  const std::string& id() const { return id_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // Requests that arrived through Pipeline, and the messages that they came in.
  int requests() const { return requests_; }
  int batches() const { return batches_; }
  int status_calls() const { return status_calls_; }
  size_t open_streams() {
    MutexLock lock(&mu_);
    return streams_.size();
  }
  std::atomic<uint64_t> applied_revision{0};

 private:
  grpc::Status Pipeline(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>* stream) override {
    if (!takes_streams_) return grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
    {
      MutexLock lock(&mu_);
      streams_.insert(context);
    }
    const grpc::Status status = Serve(stream);
    MutexLock lock(&mu_);
    streams_.erase(context);
    return status;
  }

  grpc::Status Serve(grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>* stream) {
    v1::PipelineResponse taken;
    FillState(taken.mutable_node());
    if (!silent_) stream->Write(taken);
    v1::PipelineRequest batch;
    while (stream->Read(&batch)) {
      ++batches_;
      v1::PipelineResponse answers;
      for (const v1::Request& request : batch.requests()) {
        ++requests_;
        v1::Response response;
        response.set_id(request.id());
        Script script;
        {
          MutexLock lock(&mu_);
          script = script_;
        }
        const Act act = silent_ || !script ? Act::kSwallow : script(request, &response);
        if (act == Act::kBreakStream) {
          MutexLock lock(&mu_);
          return stream_end_;
        }
        if (act != Act::kSwallow) *answers.add_responses() = std::move(response);
        if (act == Act::kAnswerAndEnd) return End(answers, stream);
      }
      if (answers.responses_size() == 0) continue;
      FillState(answers.mutable_node());
      stream->Write(answers);
    }
    return grpc::Status::OK;
  }

  // Both arrive together.
  grpc::Status End(v1::PipelineResponse answers,
                   grpc::ServerReaderWriter<v1::PipelineResponse, v1::PipelineRequest>* stream) {
    FillState(answers.mutable_node());
    stream->WriteLast(answers, grpc::WriteOptions());
    MutexLock lock(&mu_);
    return stream_end_;
  }

  grpc::Status Scan(grpc::ServerContext*, const v1::ScanRequest* request,
                    grpc::ServerWriter<v1::ScanResponse>* writer) override {
    v1::ScanResponse response;
    for (int i = 0; i < 3; ++i) {
      v1::KeyValue* item = response.add_items();
      item->set_key(request->prefix() + std::to_string(i));
      item->set_value(id_);
      item->set_version(static_cast<uint64_t>(i) + 1);
    }
    response.set_count(3);
    FillState(response.mutable_node());
    writer->Write(response);
    std::function<void()> then;
    {
      MutexLock lock(&mu_);
      then = before_end_of_scan_;
    }
    if (then) then();
    return grpc::Status::OK;
  }

  grpc::Status Status(grpc::ServerContext* context, const v1::StatusRequest*,
                      v1::StatusResponse* response) override {
    ++status_calls_;
    WaitUntil(std::chrono::minutes(1),
              [&] { return !silent_ || closing_ || context->IsCancelled(); });
    if (silent_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "silent");
    MutexLock lock(&mu_);
    response->set_node_id(id_);
    if (cluster_id_ != 0) response->set_cluster_id(fmt::format("{:016x}", cluster_id_.load()));
    if (history_ != 0) response->set_history(fmt::format("{:016x}", history_.load()));
    response->set_leader_id(leader_id_);
    response->set_term(term_);
    response->set_role(leader_id_ == id_ ? v1::ROLE_LEADER : v1::ROLE_FOLLOWER);
    response->set_applied_revision(applied_revision);
    response->set_membership_index(list_.membership_index());
    for (const v1::MemberStatus& member : members_) {
      if (member.id() == id_ && !member.voter()) response->set_role(v1::ROLE_LEARNER);
      *response->add_members() = member;
    }
    return grpc::Status::OK;
  }

  grpc::Status Members(grpc::ServerContext*, const v1::MembersRequest*,
                       v1::MembersResponse* response) override {
    if (silent_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "silent");
    MutexLock lock(&mu_);
    *response = list_;
    response->set_node_id(id_);
    return grpc::Status::OK;
  }

  grpc::Status AddMember(grpc::ServerContext*, const v1::AddMemberRequest* request,
                         v1::ChangeResponse* response) override {
    return Make(
        {Change::Kind::kAdd, request->id(), request->address(), request->promote_when_level()},
        response);
  }
  grpc::Status PromoteMember(grpc::ServerContext*, const v1::PromoteMemberRequest* request,
                             v1::ChangeResponse* response) override {
    return Make({Change::Kind::kPromote, request->id()}, response);
  }
  grpc::Status RemoveMember(grpc::ServerContext*, const v1::RemoveMemberRequest* request,
                            v1::ChangeResponse* response) override {
    Change change{Change::Kind::kRemove, request->id()};
    change.force = request->force();
    return Make(change, response);
  }
  grpc::Status MoveMember(grpc::ServerContext*, const v1::MoveMemberRequest* request,
                          v1::ChangeResponse* response) override {
    return Make({Change::Kind::kMove, request->id(), request->address()}, response);
  }

  grpc::Status Make(const Change& change, v1::ChangeResponse* response) {
    ChangeScript script;
    {
      MutexLock lock(&mu_);
      script = change_;
    }
    if (!script) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no script");
    return script(change, response->mutable_members());
  }

  grpc::Status TransferLeadership(grpc::ServerContext*, const v1::TransferRequest* request,
                                  v1::TransferResponse* response) override {
    TransferScript script;
    {
      MutexLock lock(&mu_);
      script = transfer_;
    }
    if (!script) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no script");
    return script(request->target_id(), response);
  }

  // One entry for each revision above the one asked from, up to revision 3.
  grpc::Status Trace(grpc::ServerContext*, const v1::TraceRequest* request,
                     v1::TraceResponse* response) override {
    response->set_node_id(id_);
    for (uint64_t revision = request->after_revision() + 1; revision <= 3; ++revision) {
      v1::StageTimes* times = response->add_entries();
      times->set_index(revision + 10);
      times->set_first_revision(revision);
      times->set_last_revision(revision);
      times->set_bytes(100);
      times->set_appended_us(1);
      times->set_durable_us(2);
      times->set_committed_us(3);
      times->set_applied_us(4);
    }
    return grpc::Status::OK;
  }

  void FillState(v1::NodeState* state) {
    MutexLock lock(&mu_);
    state->set_node_id(id_);
    state->set_cluster_id(cluster_id_);
    state->set_history(history_);
    state->set_leader_id(leader_id_);
    state->set_term(term_);
    state->set_applied_revision(applied_revision);
    state->set_staleness_ms(leader_id_ == id_ ? 0 : 1);
  }

  const std::string id_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::atomic<bool> closing_{false};
  std::atomic<bool> silent_{false};
  std::atomic<bool> takes_streams_{true};
  std::atomic<uint64_t> cluster_id_{0};
  std::atomic<uint64_t> history_{0};
  std::atomic<int> requests_{0};
  std::atomic<int> batches_{0};
  std::atomic<int> status_calls_{0};
  Mutex mu_;
  std::set<grpc::ServerContext*> streams_ ABSL_GUARDED_BY(mu_);
  Script script_ ABSL_GUARDED_BY(mu_);
  std::function<void()> before_end_of_scan_ ABSL_GUARDED_BY(mu_);
  grpc::Status stream_end_ ABSL_GUARDED_BY(mu_){grpc::StatusCode::UNAVAILABLE, "broken"};
  std::string leader_id_ ABSL_GUARDED_BY(mu_);
  uint64_t term_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<v1::MemberStatus> members_ ABSL_GUARDED_BY(mu_);
  v1::MembersResponse list_ ABSL_GUARDED_BY(mu_);
  ChangeScript change_ ABSL_GUARDED_BY(mu_);
  TransferScript transfer_ ABSL_GUARDED_BY(mu_);
};

// A map that nodes share, as if replication took no time, and scripts that serve it.
class FakeStore {
 public:
  // What a working node does: the leader takes writes, any node answers reads.
  FakeNode::Script Serve(FakeNode* node) {
    return [this, node](const v1::Request& request, v1::Response* response) {
      MutexLock lock(&mu_);
      if (request.has_put()) {
        data_[request.put().key()] = {request.put().value(), ++revision_};
        response->mutable_put()->set_revision(revision_);
        response->mutable_put()->set_reached(v1::QUORUM);
      } else if (request.has_delete_()) {
        response->mutable_delete_()->set_deleted(data_.erase(request.delete_().key()) > 0);
        response->mutable_delete_()->set_revision(++revision_);
      } else if (request.has_get()) {
        Get(request.get().key(), response->mutable_get());
      } else {
        for (const std::string& key : request.batch_get().keys()) {
          Get(key, response->mutable_batch_get()->add_results());
        }
      }
      node->applied_revision = revision_;
      return FakeNode::Act::kAnswer;
    };
  }

 private:
  void Get(const std::string& key, v1::GetResponse* response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto found = data_.find(key);
    if (found == data_.end()) return;
    response->set_found(true);
    response->set_value(found->second.first);
    response->set_version(found->second.second);
  }

  Mutex mu_;
  std::map<std::string, std::pair<std::string, uint64_t>> data_ ABSL_GUARDED_BY(mu_);
  uint64_t revision_ ABSL_GUARDED_BY(mu_) = 0;
};

// A script that answers everything with one error.
inline FakeNode::Script Refuse(grpc::StatusCode code, v1::ErrorReason reason,
                               const std::string& leader_id = "",
                               const std::string& leader_address = "", uint64_t term = 0) {
  return [=](const v1::Request&, v1::Response* response) {
    v1::Error* error = response->mutable_error();
    error->set_code(code);
    error->set_message("refused by the script");
    error->mutable_detail()->set_reason(reason);
    error->mutable_detail()->set_leader_id(leader_id);
    error->mutable_detail()->set_leader_address(leader_address);
    error->mutable_detail()->set_term(term);
    return FakeNode::Act::kAnswer;
  };
}

inline FakeNode::Script BreakStream() {
  return [](const v1::Request&, v1::Response*) { return FakeNode::Act::kBreakStream; };
}

}  // namespace skein
