// The Cluster service: what operators and discovering clients ask.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "common/clock.h"
#include "server/event_loop.h"
#include "server/node_view.h"
#include "server/stage_trace.h"
#include "skein/v1/cluster.grpc.pb.h"
#include "storage/kv_state_machine.h"

namespace skein {

struct NodeFacts {
  std::string cluster_id;   // hexadecimal
  std::string incarnation;  // hexadecimal
  uint64_t started_us = 0;  // monotonic
};

class ClusterService final : public v1::Cluster::CallbackService {
 public:
  // All outlive the service.
  ClusterService(const NodeFacts& facts, EventLoop* loop, const LogStore* log_store,
                 const NodeView* view, const StageTrace* trace, const Clock* clock)
      : facts_(facts),
        loop_(loop),
        log_store_(log_store),
        view_(view),
        trace_(trace),
        clock_(clock) {}

  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::StatusRequest* request,
                                   v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* Trace(grpc::CallbackServerContext* context,
                                  const v1::TraceRequest* request,
                                  v1::TraceResponse* response) override;

  // Elections won by this node since it started; counted by the node.
  std::atomic<uint64_t> elections_won{0};

 private:
  void FillStatus(const Replica& replica, v1::StatusResponse* response) const;
  void FillMembers(const Replica& replica, v1::StatusResponse* response) const;

  const NodeFacts facts_;
  EventLoop* const loop_;
  const LogStore* const log_store_;
  const NodeView* const view_;
  const StageTrace* const trace_;
  const Clock* const clock_;
};

}  // namespace skein
