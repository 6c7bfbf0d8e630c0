// A simulated client: several calls under way at a time, routed and retried by the real
// ClusterView, Router and CallPlan. What it is told goes to the checker.
#pragma once

#include <map>
#include <string>

#include "client/call_plan.h"
#include "client/cluster_view.h"
#include "client/router.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_rpc.h"

namespace skein::sim {

class SimClient {
 public:
  SimClient(const SimContext& context, size_t client, size_t nodes, SimRpc* rpc, Random random);

  // Makes calls at random until Stop.
  void Start(size_t calls);
  // Begins no further calls, until it is started again.
  void Stop() { stopped_ = true; }
  size_t calls_under_way() const { return calls_.size(); }

  // Reads, writes and reads a key of its own, linearizably; each is repeated until it succeeds. The
  // first read must do without any write of the leader's term but its own no-op.
  void Probe();
  bool ProbeDone() const { return probe_step_ == 3; }
  const std::string& probe_error() const { return probe_error_; }

  void OnResponse(size_t node, Response response);
  void OnNotSent(size_t node, uint64_t attempt);
  void OnBroken(size_t node);

 private:
  struct Call {
    Request request;  // its id is that of the attempt that is under way
    client::CallPlan plan;
    ReadPolicy policy = ReadPolicy::kFollowers;
    uint64_t begin_us = 0;
    Revision token;            // when the call began
    std::optional<size_t> to;  // the node that it was sent to
    uint32_t attempts = 0;
    bool probe = false;
  };

  bool IsWrite(const Call& call) const { return call.request.kind != Request::Kind::kGet; }
  std::string NextValue() { return who_ + "." + std::to_string(++values_); }
  Call DrawCall();
  void Think();
  void Begin(Call call);
  void Route(uint64_t id);
  void Conclude(uint64_t id, client::Outcome outcome);
  client::Circumstances CircumstancesAfter(const Call& call, const client::Outcome& outcome);
  void OnForeign(size_t node, uint64_t attempt);
  void OnSlow(uint64_t id);
  void OnDeadline(uint64_t id);
  void Succeed(uint64_t id, const Response& response);
  void GiveUp(uint64_t id, const absl::Status& status);
  void OnDone(const Call& call, bool succeeded);
  HistoryOp HistoryOf(const Call& call) const;
  void RaiseToken(Revision revision) { token_ = std::max(token_, revision); }
  void NextProbe();
  void Refresh();

  const SimContext context_;
  const size_t client_;
  const size_t nodes_;
  const std::string who_;
  SimRpc* const rpc_;
  Random random_;
  client::ClusterView view_;
  std::vector<uint64_t> heard_us_;  // by node: when it answered last
  client::Router router_{client::RouterOptions()};
  std::map<uint64_t, Call> calls_;  // by attempt
  uint64_t next_attempt_ = 1;
  uint64_t values_ = 0;
  Revision token_;
  uint64_t refreshed_us_ = 0;
  bool stopped_ = false;
  uint64_t starts_ = 0;
  int probe_step_ = 0;
  std::string probe_error_ = "not tried";
};

}  // namespace skein::sim
