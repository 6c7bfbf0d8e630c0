// What a seed stands for: cluster, limits, and how often each thing goes wrong. Swarm testing
// (Groce et al. 2012): every seed draws which faults it has at all, and limits so small that the
// edges are the common case.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "replication/replica.h"

namespace skein::sim {

// Faults that strike by themselves at random moments; each value is the mean time between two, in
// microseconds, 0: never.
struct FaultRates {
  uint64_t crash = 0;         // of one node's process
  uint64_t crash_all = 0;     // all processes at once
  uint64_t power = 0;         // one host: its process, its clock, what is not synced
  uint64_t pause = 0;         // a process that does nothing for a while
  uint64_t partition = 0;     // the nodes fall into two groups
  uint64_t isolate = 0;       // one node, the leader more often than not
  uint64_t one_way = 0;       // one direction of one link
  uint64_t clog = 0;          // a link holds everything for a while
  uint64_t swizzle = 0;       // all links of a node clog one by one, and open in another order
  uint64_t stream_break = 0;  // a stream loses its tail
  uint64_t garble = 0;        // a message is damaged on the way
  uint64_t disk_stall = 0;
  uint64_t disk_error = 0;
  uint64_t disk_full = 0;
  uint64_t damage = 0;         // a log is cut amid acknowledged entries while its node is down
  uint64_t wall_jump = 0;      // of a wall clock, in either direction
  uint64_t client_cut = 0;     // a client loses a node
  uint64_t upstream_cut = 0;   // a learner and its upstream lose each other
  uint64_t wipe = 0;           // a node's data directory is replaced by an empty one
  uint64_t majority_loss = 0;  // for ever, disks and all
  // Not faults: what operators do.
  uint64_t change = 0;     // of the membership
  uint64_t transfer = 0;   // of leadership
  uint64_t terminate = 0;  // a process is told to stop
};

struct SimOptions {
  uint64_t seed = 0;

  size_t voters = 3;
  size_t learners = 0;
  bool upstreams = false;  // the learners have some from the beginning
  size_t spares = 0;       // nodes that are no members yet
  ReplicaOptions replica;

  // Messages between nodes: how long they take, in microseconds, and what may become of one.
  uint64_t delay_min_us = 100;
  uint64_t delay_mean_us = 300;
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;
  double replay = 0;
  uint64_t given_up_after_us = 3'000'000;  // a link of which nothing comes back

  // Disks, in microseconds.
  uint64_t sync_mean_us = 500;
  uint64_t apply_mean_us = 100;
  uint64_t flush_every_us = 2'000'000;  // the state machine's, mean

  uint64_t fetch_mean_us = 50'000;  // of a snapshot
  double fetch_fails = 0;
  size_t snapshots_max = 4;  // that a node sends at once

  uint64_t revive_mean_us = 400'000;  // until a process that has ended is started again

  double coup = 0;    // a new leader is struck at once
  double few = 0;     // a new leader is heard by less than a quorum for a while
  double stale = 0;   // who wins hears again what it was answered in earlier terms
  double freeze = 0;  // a host freezes as it sends a heartbeat

  double old_version = 0;  // a node starts its life with an older version of the protocol
  double drift = 0;        // clocks run faster or slower by at most this share
  double half_drain = 0;   // the event loop handles only some of its mail
  double ticks_first = 0;  // a paused process gets its missed ticks before its mail, all of them

  size_t clients = 3;
  size_t calls_each = 2;  // that a client has under way
  size_t keys = 3;
  uint64_t think_mean_us = 20'000;
  uint64_t call_deadline_us = 1'500'000;
  double write_share = 0.5;
  double delete_share = 0.1;  // of the writes

  FaultRates faults;
};

// What is not left to the seed.
struct FaultChoice {
  std::set<std::string> with;
  std::set<std::string> without;  // has the last word

  bool Has(const std::string& name, bool drawn) const {
    return (drawn || with.count(name) != 0) && without.count(name) == 0;
  }
};

// Names that a FaultChoice can have.
std::vector<std::string> FaultNames();

// Of this seed; all other draws are as without a choice.
SimOptions DrawOptions(uint64_t seed, const FaultChoice& choice);

// One line.
std::string Describe(const SimOptions& options);

}  // namespace skein::sim
