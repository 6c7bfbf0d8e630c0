// What nodes say to each other, as plain aggregates. The wire form is in replication.proto; any
// message may be lost, repeated, delayed or reordered without harm to safety.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "common/types.h"
#include "replication/core/entry.h"

namespace skein {

// Leader to follower, or upstream to learner: entries that come after `previous`. Without entries:
// a probe.
struct AppendMessage {
  Position previous;
  uint64_t previous_chain = 0;
  Index commit;
  std::vector<EntryPtr> entries;
  bool relayed = false;  // by an upstream, which does not lead; all of it is committed (R36)
};

// To who sent the append: cumulative. Durable on the follower, and known to equal the leader's log,
// up to `match`. A rejection tells where the follower's log ends, and its commit index, up to which
// every log agrees: the leader goes on from one of the two.
struct AppendAck {
  bool rejected = false;
  Index match;
  Index applied;
  Index previous_index;  // of the append that is answered
  LogPoint last;         // of the follower's log; its revision is not sent
  Index commit;
};

// A learner that the receiver is to feed, which stands at `after` (R36).
struct Feed {
  NodeId learner;
  Index after;

  friend bool operator==(const Feed&, const Feed&) = default;
};

// Leader to all: I lead. Rounds are numbered; an acknowledged round proves leadership at its start.
struct HeartbeatMessage {
  uint64_t round = 0;
  Index commit;  // the receiver follows as far as it has verified its log against the sender's
  Index trim;    // every member has the log durable up to here
  // R16: the receiver's state, once applied up to fresh_index, is no older than its own time
  // fresh_stamp_us. 0: nothing proven yet.
  uint64_t fresh_stamp_us = 0;
  Index fresh_index;
  std::vector<Feed> feeds;  // with a round other than 0: all of them
};

struct HeartbeatAck {
  uint64_t round = 0;
  uint64_t stamp_us = 0;  // the sender's monotonic clock
  Index applied;
  Index match;
};

struct VoteMessage {
  bool pre = false;       // thesis 9.6: asks whether an election could be won, changes nothing
  bool transfer = false;  // the leader itself asked for this election
  Position last;          // of the candidate's log
};

struct VoteAck {
  bool pre = false;
  bool granted = false;
  std::string refusal;  // why not granted, for the log
};

// Follower to leader: up to where must I have applied to serve a linearizable read that has begun?
struct ReadIndexMessage {
  uint64_t id = 0;  // fresh for each attempt
};

struct ReadIndexAck {
  uint64_t id = 0;
  bool granted = false;
  Index index;
};

// Leader to a voter that has its whole log: campaign at once (R28).
struct TimeoutNowMessage {};

// Leader to follower: what you need next is trimmed, fetch a snapshot (R20).
struct SnapshotOffer {
  uint64_t id = 0;  // fresh for each offer
  NodeId source;
  std::string source_address;
  Index at_least;  // from here on the leader still has its log
};

enum class SnapshotPhase : uint8_t {
  kFetching = 1,
  kInstalling = 2,
  kInstalled = 3,  // durable up to `index`
  kFailed = 4,     // or not needed
};

// Follower to leader: how far the snapshot of the last offer is.
struct SnapshotReport {
  uint64_t id = 0;  // of the offer
  SnapshotPhase phase = SnapshotPhase::kFetching;
  Index index;  // of the snapshot; 0: not known yet
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  std::string error;  // kFailed
};

using MessageBody =
    std::variant<AppendMessage, AppendAck, HeartbeatMessage, HeartbeatAck, VoteMessage, VoteAck,
                 ReadIndexMessage, ReadIndexAck, TimeoutNowMessage, SnapshotOffer, SnapshotReport>;

struct Message {
  NodeId from;
  NodeId to;
  Term term;  // of the sender; for a pre-vote the term it would campaign in
  MessageBody body;

  // Bulk messages go by a stream of their own, so that heartbeats and votes never wait behind them.
  bool IsBulk() const {
    const auto* append = std::get_if<AppendMessage>(&body);
    return append != nullptr && !append->entries.empty();
  }
};

}  // namespace skein
