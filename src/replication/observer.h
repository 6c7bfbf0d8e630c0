// Who watches a replica: for logs, lag measurements and the coverage marks of tests.
#pragma once

#include <string>
#include <vector>

#include "replication/core/ready.h"

namespace skein {

// What an entry goes through on one node, in this order.
enum class Stage : uint8_t { kAppended = 0, kDurable = 1, kCommitted = 2, kApplied = 3 };

// Called from the replica's thread, in the order of what happens. Must not block.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnRoleChange(const RoleChange& change) = 0;
  // These entries were appended to this node's log (as leader or as follower).
  virtual void OnAppended(const std::vector<EntryPtr>& entries) = 0;
  // The log up to `index` reached the stage; monotonic but for a truncation.
  virtual void OnStage(Stage stage, Index index) = 0;
  // The members are others now, or at other addresses, or it is certain now that they are.
  virtual void OnMembership(const MembershipsInForce& memberships) = 0;
  // Something worth a line in the log: a refused vote, a truncation, a follower that lags.
  virtual void OnNotice(const std::string& notice) = 0;
};

}  // namespace skein
