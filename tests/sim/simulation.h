// One seed: a cluster and its clients live through what the seed has drawn, then a quorum of them
// is healed and must work again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/checker.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_recovery.h"
#include "tests/sim/sim_rpc.h"

namespace skein::sim {

struct RunLimits {
  uint64_t steps = 40'000;           // events before the healing
  uint64_t until_us = ~uint64_t{0};  // or simulated time, whichever comes first
};

struct RunResult {
  std::string violation;  // empty: none
  uint64_t steps = 0;
  uint64_t simulated_us = 0;
  uint64_t fingerprint = 0;
  Coverage coverage;
};

class Simulation final : private NetworkEnds, private RpcEnds {
 public:
  // `trace_lines`, `live`: see Trace.
  Simulation(const SimOptions& options, const RunLimits& limits, size_t trace_lines, bool live);

  RunResult Run();
  std::string LastLines() const { return trace_.LastLines(); }

 private:
  // NetworkEnds, RpcEnds
  bool IsAlive(size_t node) const override { return nodes_[node]->alive(); }
  void OnMessage(size_t node, Message message) override;
  void OnLink(size_t node, Event event) override;
  void OnRequest(size_t node, Request request) override {
    nodes_[node]->OnRequest(std::move(request));
  }
  void OnResponse(size_t client, size_t node, Response response) override {
    clients_[client]->OnResponse(node, std::move(response));
  }
  void OnNotSent(size_t client, size_t node, uint64_t id) override {
    clients_[client]->OnNotSent(node, id);
  }
  void OnBroken(size_t client, size_t node) override { clients_[client]->OnBroken(node); }

  void Live();
  void Recover();
  uint64_t AppliedBy(const std::vector<size_t>& nodes) const;  // all together
  // Empty, or what is not yet as it should be.
  std::string NotYet(const std::vector<size_t>& healed) const;

  const SimOptions options_;
  const RunLimits limits_;
  Scheduler scheduler_;
  Trace trace_;
  Coverage coverage_;
  SimContext context_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  std::unique_ptr<Checker> checker_;
  std::unique_ptr<SimNetwork> network_;
  std::unique_ptr<SimRpc> rpc_;
  std::vector<std::unique_ptr<SimClient>> clients_;  // the last one only probes
  std::unique_ptr<SimOperator> operator_;
  std::unique_ptr<Nemesis> nemesis_;
  std::unique_ptr<SimRecovery> recovery_;
};

}  // namespace skein::sim
