// The Cluster service: what operators and discovering clients ask.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "common/clock.h"
#include "server/catch_up.h"
#include "server/event_loop.h"
#include "server/membership_watch.h"
#include "server/node_view.h"
#include "server/operator_calls.h"
#include "server/stage_trace.h"
#include "skein/v1/cluster.grpc.pb.h"

namespace skein {

struct NodeFacts {
  std::string cluster_id;  // hexadecimal
  std::string cluster_token;
  std::string incarnation;  // hexadecimal
  uint64_t started_us = 0;  // monotonic
  uint64_t history = 0;     // see Identity
  uint32_t protocol_version = 0;
};

class ClusterService final : public v1::Cluster::CallbackService {
 public:
  // All outlive the service.
  struct Parts {
    EventLoop* loop = nullptr;
    const LogStore* log_store = nullptr;
    const NodeView* view = nullptr;
    const StageTrace* trace = nullptr;
    const MembershipWatch* watch = nullptr;
    const CatchUpWatch* catch_up = nullptr;
    OperatorCalls* operator_calls = nullptr;
    const Clock* clock = nullptr;
  };

  ClusterService(NodeFacts facts, const Parts& parts) : facts_(std::move(facts)), parts_(parts) {}

  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::StatusRequest* request,
                                   v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* Trace(grpc::CallbackServerContext* context,
                                  const v1::TraceRequest* request,
                                  v1::TraceResponse* response) override;
  grpc::ServerUnaryReactor* Members(grpc::CallbackServerContext* context,
                                    const v1::MembersRequest* request,
                                    v1::MembersResponse* response) override;
  grpc::ServerUnaryReactor* AddMember(grpc::CallbackServerContext* context,
                                      const v1::AddMemberRequest* request,
                                      v1::ChangeResponse* response) override;
  grpc::ServerUnaryReactor* PromoteMember(grpc::CallbackServerContext* context,
                                          const v1::PromoteMemberRequest* request,
                                          v1::ChangeResponse* response) override;
  grpc::ServerUnaryReactor* RemoveMember(grpc::CallbackServerContext* context,
                                         const v1::RemoveMemberRequest* request,
                                         v1::ChangeResponse* response) override;
  grpc::ServerUnaryReactor* MoveMember(grpc::CallbackServerContext* context,
                                       const v1::MoveMemberRequest* request,
                                       v1::ChangeResponse* response) override;
  grpc::ServerUnaryReactor* SetUpstream(grpc::CallbackServerContext* context,
                                        const v1::SetUpstreamRequest* request,
                                        v1::ChangeResponse* response) override;
  grpc::ServerUnaryReactor* TransferLeadership(grpc::CallbackServerContext* context,
                                               const v1::TransferRequest* request,
                                               v1::TransferResponse* response) override;

  // Elections won by this node since it started; counted by the node.
  std::atomic<uint64_t> elections_won{0};

 private:
  void FillStatus(const Replica& replica, v1::StatusResponse* response) const;
  void FillMembers(const Replica& replica, v1::StatusResponse* response) const;
  void FillMembers(const MembershipsInForce& memberships, v1::MembersResponse* response) const;
  // `valid`: what is wrong with the request, if anything.
  grpc::ServerUnaryReactor* Change(grpc::CallbackServerContext* context, const absl::Status& valid,
                                   OperatorCalls::MakeChange make, v1::ChangeResponse* response);

  const NodeFacts facts_;
  const Parts parts_;
};

}  // namespace skein
