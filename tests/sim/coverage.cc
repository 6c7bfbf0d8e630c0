#include "tests/sim/coverage.h"

#include <fmt/format.h>

namespace skein::sim {
namespace {

constexpr std::array<const char*, kMarkCount> kNames = {
    "elections won",
    "votes refused",
    "leaders that stepped down",
    "leaders that gave up for a stalled disk",
    "fast elections after a crash",
    "truncations",
    "appends rejected",
    "logs trimmed",
    "entries read back from a log",
    "restarts with entries to replay",
    "logs damaged",
    "damaged logs repaired",
    "crashes",
    "power losses",
    "processes told to stop",
    "writes that a crash left half done",
    "pauses",
    "disk stalls",
    "disk errors",
    "full disks",
    "partitions",
    "one-way cuts",
    "clogged links",
    "swizzles",
    "streams broken",
    "wall clock jumps",
    "messages lost",
    "messages duplicated",
    "messages reordered",
    "messages replayed",
    "messages damaged",
    "writes acknowledged",
    "writes refused",
    "writes rejected after append",
    "writes of unknown outcome",
    "writes retried",
    "writes refused for a full queue",
    "writes that reached all voters",
    "writes that all voters did not reach in time",
    "writes acknowledged by the leader alone and lost",
    "reads answered",
    "linearizable reads",
    "linearizable reads on followers",
    "bounded reads",
    "reads refused as behind",
    "reads refused for a full queue",
    "reads failed",
    "members added",
    "members that came back with their old data",
    "members promoted",
    "members removed",
    "members removed by force",
    "members moved",
    "members added at the address of a former one",
    "messages to an address where another node is",
    "upstreams set",
    "entries relayed",
    "learners that were given another feeder",
    "upstreams that were passed over",
    "starts with an older protocol version",
    "upgrades to the newest protocol version",
    "leaders that removed themselves",
    "changes refused",
    "memberships that a truncation took back",
    "messages of nodes that are not listened to",
    "handovers of leadership",
    "handovers given up",
    "snapshots fetched",
    "snapshots that could not be fetched",
    "sources that sent as many snapshots as they may",
    "snapshots that went on where they had broken off",
    "snapshots installed",
    "logs begun anew after a snapshot",
    "installations completed at a start",
    "data directories wiped",
    "quorums forced after the loss of a majority",
    "messages of nodes that were left behind",
    "answers of nodes that were left behind",
    "clients that learnt of a new history",
    "quorums healed",
};

}  // namespace

const char* MarkName(Mark mark) { return kNames[static_cast<size_t>(mark)]; }

std::string Coverage::Report() const {
  std::string text;
  for (size_t i = 0; i < kMarkCount; ++i)
    text += fmt::format("{:>12}  {}\n", counts_[i], kNames[i]);
  return text;
}

std::string Coverage::Missing() const {
  std::string text;
  for (size_t i = 0; i < kMarkCount; ++i) {
    if (counts_[i] == 0) text += fmt::format("{}{}", text.empty() ? "" : ", ", kNames[i]);
  }
  return text;
}

}  // namespace skein::sim
