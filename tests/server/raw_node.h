// One node, addressed directly with the generated stubs: no discovery, no routing, no retry.
// Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "skein/v1/cluster.grpc.pb.h"
#include "skein/v1/kv.grpc.pb.h"

namespace skein {

inline constexpr std::chrono::seconds kCallTimeout{30};

struct RawScan {
  grpc::Status status;
  std::vector<v1::KeyValue> items;
  uint64_t count = 0;
};

class RawNode {
 public:
  explicit RawNode(const std::string& address) {
    grpc::ChannelArguments args;
    args.SetMaxReceiveMessageSize(-1);
    args.SetMaxSendMessageSize(-1);
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    channel_ = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
    kv_ = v1::Kv::NewStub(channel_);
    cluster_ = v1::Cluster::NewStub(channel_);
  }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::Kv::Stub& kv() { return *kv_; }

  grpc::Status Get(const v1::GetRequest& request, v1::GetResponse* response,
                   std::chrono::milliseconds timeout = kCallTimeout) {
    grpc::ClientContext context;
    Prepare(&context, timeout);
    return kv_->Get(&context, request, response);
  }
  grpc::Status BatchGet(const v1::BatchGetRequest& request, v1::BatchGetResponse* response) {
    grpc::ClientContext context;
    Prepare(&context, kCallTimeout);
    return kv_->BatchGet(&context, request, response);
  }
  grpc::Status Put(const v1::PutRequest& request, v1::PutResponse* response,
                   std::chrono::milliseconds timeout = kCallTimeout) {
    grpc::ClientContext context;
    Prepare(&context, timeout);
    return kv_->Put(&context, request, response);
  }
  grpc::Status Delete(const v1::DeleteRequest& request, v1::DeleteResponse* response) {
    grpc::ClientContext context;
    Prepare(&context, kCallTimeout);
    return kv_->Delete(&context, request, response);
  }
  grpc::Status Status(v1::StatusResponse* response) {
    grpc::ClientContext context;
    Prepare(&context, kCallTimeout);
    return cluster_->Status(&context, v1::StatusRequest(), response);
  }
  grpc::Status Members(v1::MembersResponse* response) {
    return Call(&v1::Cluster::Stub::Members, v1::MembersRequest(), response);
  }
  grpc::Status AddMember(const std::string& id, const std::string& address, bool promote,
                         v1::ChangeResponse* response, const std::string& upstream = "") {
    v1::AddMemberRequest request;
    request.set_upstream_id(upstream);
    request.set_id(id);
    request.set_address(address);
    request.set_promote_when_level(promote);
    return Call(&v1::Cluster::Stub::AddMember, request, response);
  }
  grpc::Status PromoteMember(const std::string& id, v1::ChangeResponse* response) {
    v1::PromoteMemberRequest request;
    request.set_id(id);
    return Call(&v1::Cluster::Stub::PromoteMember, request, response);
  }
  grpc::Status RemoveMember(const std::string& id, bool force, v1::ChangeResponse* response) {
    v1::RemoveMemberRequest request;
    request.set_id(id);
    request.set_force(force);
    return Call(&v1::Cluster::Stub::RemoveMember, request, response);
  }
  grpc::Status MoveMember(const std::string& id, const std::string& address,
                          v1::ChangeResponse* response) {
    v1::MoveMemberRequest request;
    request.set_id(id);
    request.set_address(address);
    return Call(&v1::Cluster::Stub::MoveMember, request, response);
  }
  // To anybody if `target` is empty.
  grpc::Status TransferLeadership(const std::string& target, v1::TransferResponse* response) {
    v1::TransferRequest request;
    request.set_target_id(target);
    return Call(&v1::Cluster::Stub::TransferLeadership, request, response);
  }

  RawScan Scan(const v1::ScanRequest& request) {
    grpc::ClientContext context;
    Prepare(&context, kCallTimeout);
    RawScan scan;
    const auto reader = kv_->Scan(&context, request);
    v1::ScanResponse response;
    while (reader->Read(&response)) {
      for (v1::KeyValue& item : *response.mutable_items()) scan.items.push_back(std::move(item));
      scan.count = response.count();
    }
    scan.status = reader->Finish();
    return scan;
  }

  // Waits for the connection as well: the node may be about to start.
  static void Prepare(grpc::ClientContext* context, std::chrono::milliseconds timeout) {
    context->set_wait_for_ready(true);
    context->set_deadline(std::chrono::system_clock::now() + timeout);
  }

 private:
  template <typename Method, typename Request, typename Response>
  grpc::Status Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    Prepare(&context, kCallTimeout);
    return (*cluster_.*method)(&context, request, response);
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Kv::Stub> kv_;
  std::unique_ptr<v1::Cluster::Stub> cluster_;
};

// What the trailer of an error says; reason unspecified if there is none.
inline v1::ErrorDetail DetailIn(const grpc::Status& status) {
  v1::ErrorDetail detail;
  v1::RichStatus rich;
  const bool parsed = rich.ParseFromString(status.error_details());
  if (!parsed || rich.code() != static_cast<int>(status.error_code())) return detail;
  if (rich.message() != status.error_message() || rich.details_size() != 1) return detail;
  if (!rich.details(0).UnpackTo(&detail)) detail.Clear();
  return detail;
}

// What a node says of this member; empty if it does not know it.
inline v1::MemberStatus MemberIn(const v1::StatusResponse& status, const std::string& id) {
  for (const v1::MemberStatus& member : status.members()) {
    if (member.id() == id) return member;
  }
  return {};
}

inline v1::GetRequest GetOf(const std::string& key, v1::Consistency consistency,
                            uint64_t revision = 0) {
  v1::GetRequest request;
  request.set_key(key);
  request.mutable_read()->set_consistency(consistency);
  request.mutable_read()->set_at_least_revision(revision);
  return request;
}

inline v1::PutRequest PutOf(const std::string& key, const std::string& value,
                            v1::AckLevel ack = v1::QUORUM, uint64_t wait_ms = 0) {
  v1::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  request.mutable_write()->set_ack(ack);
  request.mutable_write()->set_wait_ms(wait_ms);
  return request;
}

}  // namespace skein
