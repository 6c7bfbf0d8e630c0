// How a client behaves, and what a single call may ask for. Every field has a default that is
// right for most programs; a zero deadline means the client's own.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace skein {

// What a read must see.
enum class Consistency {
  kOwnWrites,     // everything that this client has written or read; never goes back in time
  kAtLeast,       // everything up to ReadOptions::at_least_revision
  kBounded,       // a state that is at most ReadOptions::max_staleness old
  kLinearizable,  // every write that anyone had acknowledged before the read began
  kAny,           // whatever the node has
};

// Where reads go.
enum class ReadPolicy {
  kFollowers,  // to followers; to the leader only when no follower will do
  kLeader,     // to the leader
  kAny,        // to every node alike
};

// How far a write must have come before it is acknowledged.
enum class Ack {
  kLeader,  // durable on the leader; may be lost with it
  kQuorum,  // durable on more than half of the voters; never lost
  kAll,     // applied by every voter, or the wait for the last of them is over
};

struct ReadOptions {
  Consistency consistency = Consistency::kOwnWrites;
  uint64_t at_least_revision = 0;              // kAtLeast only
  std::chrono::milliseconds max_staleness{0};  // kBounded only
  std::optional<ReadPolicy> policy;            // nullopt: the client's
  std::chrono::milliseconds deadline{0};       // 0: the client's
};

struct WriteOptions {
  Ack ack = Ack::kQuorum;
  std::chrono::milliseconds all_wait{
      0};  // kAll only: how long to wait for the last voter; 0: most of the deadline
  std::chrono::milliseconds deadline{0};  // 0: the client's
};

// A range is [start, end); an empty bound is open. A prefix stands instead of both.
struct ScanOptions {
  std::string start;
  std::string end;
  std::string prefix;
  uint64_t limit = 0;  // 0: none
  bool reverse = false;
  bool keys_only = false;
  ReadOptions read;
};

struct ClientOptions {
  std::chrono::milliseconds deadline{5000};  // of a call that names none
  ReadPolicy read_policy = ReadPolicy::kFollowers;
  // False: only the nodes named to Connect are used, at these addresses, whatever other members and
  // addresses they tell of. With one node and ReadPolicy::kAny, every read goes to that node.
  bool discover = true;
  // How often the members, the leader and the lag are asked for. Answers to ordinary calls carry
  // the news of a new leader as well, so this is only the slowest way to learn it.
  std::chrono::milliseconds refresh_interval{1000};
  // After this long without an answer, or half of its deadline, a read is tried on another node.
  std::chrono::milliseconds read_attempt_timeout{500};
  // While no node at all can be reached, calls fail after this long rather than at their deadline.
  std::chrono::milliseconds unreachable_patience{1000};
  // A follower whose lag is above this gets no reads while another one is below it.
  std::chrono::milliseconds lag_max{500};
  // At most this many reads that followers could not serve are in flight on the leader.
  uint32_t leader_fallback_max = 256;
  // A connection on which nothing was heard for this long is probed, and then given up.
  std::chrono::milliseconds keepalive{5000};
};

}  // namespace skein
