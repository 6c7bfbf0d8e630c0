// What calls answer with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "skein/options.h"

namespace skein {

struct KeyValue {
  std::string key;
  std::string value;
  uint64_t version = 0;  // revision of the command that last wrote the key
};

// The node that answered a read, and how fresh its state was.
struct AnsweredBy {
  std::string node_id;
  uint64_t applied_revision = 0;
  int64_t staleness_ms = -1;  // proven age of its state; 0: the leader; -1: not proven
};

// Behaves like std::optional<KeyValue>, and converts to it.
struct GetResult {
  std::optional<KeyValue> item;  // nullopt: the key does not exist
  AnsweredBy by;

  explicit operator bool() const { return item.has_value(); }
  bool has_value() const { return item.has_value(); }
  const KeyValue* operator->() const { return &*item; }
  const KeyValue& operator*() const { return *item; }
  operator std::optional<KeyValue>() const& { return item; }         // NOLINT: meant to convert
  operator std::optional<KeyValue>() && { return std::move(item); }  // NOLINT: meant to convert
};

// One item for each key asked for, in that order, all from one snapshot.
struct BatchGetResult {
  std::vector<std::optional<KeyValue>> items;
  AnsweredBy by;
};

struct PutResult {
  uint64_t revision = 0;
  Ack reached = Ack::kQuorum;
};

struct DeleteResult {
  uint64_t revision = 0;
  bool deleted = false;  // false: the key did not exist
  Ack reached = Ack::kQuorum;
};

struct ScanResult {
  std::vector<KeyValue> items;
  uint64_t count = 0;
  AnsweredBy by;
};

enum class NodeRole { kUnknown, kLeader, kFollower, kLearner, kCandidate };

struct NodeLag {
  uint64_t revisions = 0;
  uint64_t bytes = 0;
  uint64_t milliseconds = 0;
};

// How a member that is behind is brought level, as the leader sees it.
enum class CatchUpWay {
  kUnknown,
  kLog,       // entries are sent to it
  kSnapshot,  // it fetches a snapshot from `source_id`
  kInstall,   // it has fetched one, and puts it in place
};

struct CatchUpState {
  CatchUpWay way = CatchUpWay::kUnknown;
  uint64_t bytes_done = 0;  // of the snapshot; of a log 0
  uint64_t bytes_left = 0;
  uint64_t bytes_per_second = 0;  // of late; 0: not known yet
  std::string source_id;          // of the snapshot
};

// A node as it described itself; of an unreachable one only id and address are known.
struct NodeStatus {
  std::string id;  // empty: an endpoint that has never answered
  std::string address;
  bool reachable = false;
  std::string error;  // why it is not
  NodeRole role = NodeRole::kUnknown;
  bool member = true;      // false: it answers, but does not belong to the cluster (any more)
  bool voter = true;       // false: a learner
  bool connected = false;  // the leader has a link to it; false if no leader answered
  std::string version;
  uint32_t protocol_version = 0;  // the newest that it speaks with other nodes
  uint64_t term = 0;
  bool has_quorum = false;
  uint64_t first_index = 0;
  uint64_t last_index = 0;
  uint64_t durable_index = 0;
  uint64_t commit_index = 0;
  uint64_t applied_index = 0;
  uint64_t commit_revision = 0;
  uint64_t applied_revision = 0;
  int64_t staleness_ms = -1;
  uint64_t uptime_ms = 0;
  uint64_t elections_won = 0;
  std::optional<NodeLag> lag;            // as the leader sees it; nullopt: unknown
  std::optional<CatchUpState> catch_up;  // the same; nullopt: level, or unknown
  std::string upstream_id;               // empty: none
  std::string fed_by_id;  // of a learner with an upstream: who sends it the log; empty: unknown
};

// When a log entry passed the stages of replication on one node: microseconds of CLOCK_MONOTONIC,
// comparable between the processes of one host; 0: the node has not seen that stage.
struct EntryStages {
  uint64_t index = 0;
  uint64_t first_revision = 0;
  uint64_t last_revision = 0;
  uint64_t bytes = 0;
  uint64_t appended_us = 0;  // on a follower: received
  uint64_t durable_us = 0;
  uint64_t committed_us = 0;
  uint64_t applied_us = 0;
};

struct NodeTrace {
  std::string node_id;
  std::vector<EntryStages> entries;  // in index order; nodes remember only recent ones
};

struct ClusterStatus {
  std::string cluster_id;
  std::string leader_id;  // empty: no node claims to be it, or none could be asked
  uint64_t term = 0;
  std::vector<NodeStatus> nodes;  // sorted by id
};

}  // namespace skein
