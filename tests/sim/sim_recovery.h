// The loss of a majority for ever, and what is done then (R35): one that is left goes on alone, in
// a new history of the cluster. Those of the others that have their disks come back, and knock.
//
// Clients end their calls before, so that what each history promised can be judged by itself.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_operator.h"

namespace skein::sim {

class SimRecovery {
 public:
  struct Parts {
    std::vector<std::unique_ptr<SimNode>>* nodes;
    std::vector<std::unique_ptr<SimClient>>* clients;  // all but the last make calls
    SimOperator* keeper;
    SimNetwork* network;
  };

  SimRecovery(const SimContext& context, const Parts& parts, Random random)
      : context_(context), parts_(parts), random_(random) {}

  void Start();
  // Nothing is lost any more.
  void Stop() { stopped_ = true; }
  // A majority is lost, and the survivor is not up yet. No fault may be healed meanwhile.
  bool UnderWay() const { return under_way_; }

 private:
  void LoseMajority();
  void AwaitClients();
  void Recover();
  // Of the voters, in random order: more than half.
  std::vector<size_t> Lost();
  // Who knows most, more often than not; nullopt: nobody can go on.
  std::optional<size_t> Survivor(const std::vector<size_t>& lost);

  const SimContext context_;
  const Parts parts_;
  Random random_;
  bool under_way_ = false;
  bool stopped_ = false;
};

}  // namespace skein::sim
