// What stands between clients and the replica of a simulated node: writes become proposals, reads
// wait until the node is fresh enough. The rules are those of src/server/kv_backend.
#pragma once

#include <map>
#include <memory>

#include "tests/sim/checker.h"
#include "tests/sim/sim_rpc.h"

namespace skein::sim {

class SimServer {
 public:
  // Lives as long as the process.
  SimServer(const SimContext& context, size_t node, uint64_t history, Replica* replica,
            const SimStateMachine* state, const Clock* clock, SimRpc* rpc);
  ~SimServer() { *alive_ = false; }

  void OnRequest(Request request);
  // The replica has performed: answers readers whose revision is applied or whose time is over.
  void AfterPerform();

 private:
  struct Waiting {
    uint64_t deadline_us;
    Request request;
  };

  void Write(Request request);
  client::MemberList Members() const;
  void OnWritten(const Request& request, const ProposalResult& result);
  void Read(Request request);
  void ReadLinearizable(Request request);
  void Serve(const Request& request);
  void Fail(const Request& request, absl::Status error);
  void FailBehind(const Request& request);
  void Reply(const Request& request, Response response);
  absl::Status RefusalOf(Outcome outcome) const;
  uint64_t StalenessMicros() const;

  const SimContext context_;
  const size_t node_;
  const uint64_t history_;
  Replica* const replica_;
  const SimStateMachine* const state_;
  const Clock* const clock_;
  SimRpc* const rpc_;
  std::multimap<Revision, Waiting> waiting_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace skein::sim
