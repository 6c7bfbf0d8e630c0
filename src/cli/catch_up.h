// How a member that is behind is brought level, in words and numbers.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "skein/results.h"

namespace skein::cli {

// log, snapshot, install or unknown.
const char* CatchUpWayName(CatchUpWay way);
// nullopt: not known.
std::optional<uint64_t> SecondsLeft(const CatchUpState& state);
// What the member does: `catches up by snapshot from n2: 1.2 GiB of 3.4 GiB, 80.0 MiB/s, 28 s left`
std::string CatchUpWords(const CatchUpState& state);
// ` catch_up=snapshot source=n2 bytes_done=... `; empty if the member is level.
std::string CatchUpPlain(const NodeStatus& node);
// Null if the member is level.
nlohmann::ordered_json CatchUpJson(const NodeStatus& node);

}  // namespace skein::cli
