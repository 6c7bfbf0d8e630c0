// How `status` and `lag` show nodes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "skein/results.h"

namespace skein::cli {

// leader, follower, learner, candidate, unreachable or removed.
const char* RoleName(const NodeStatus& node);
// Revisions, bytes and milliseconds; "-" where the lag is not known.
std::vector<std::string> LagColumns(const NodeStatus& node);
// Null where the lag is not known.
nlohmann::ordered_json LagJson(const NodeStatus& node);
nlohmann::ordered_json StatusJson(const ClusterStatus& cluster);

}  // namespace skein::cli
