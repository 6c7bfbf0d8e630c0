// Calls of clients to nodes: what travels, and the connections it travels on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cluster_view.h"
#include "replication/proposal.h"
#include "skein/options.h"
#include "tests/sim/sim_context.h"

namespace skein::sim {

struct Request {
  enum class Kind : uint8_t { kPut, kDelete, kGet, kStatus };
  uint64_t id = 0;  // of the attempt, unique among those of its client
  size_t client = 0;
  Kind kind = Kind::kGet;
  std::string key;
  std::string value;
  AckLevel level = AckLevel::kQuorum;
  uint64_t wait_us = 0;  // for the last voter, or until the node is fresh enough
  Consistency consistency = Consistency::kAny;
  Revision at_least;
  uint64_t bound_us = 0;
};

struct Response {
  uint64_t id = 0;
  absl::Status error;
  bool found = false;
  std::string value;
  Revision version;   // of the value
  Revision revision;  // of the write
  AckLevel reached = AckLevel::kQuorum;
  // What the node says of itself.
  std::string node;
  uint64_t cluster_id = 0;
  uint64_t history = 0;
  std::string leader;  // empty: knows of none
  Term term;
  Revision applied;
  int64_t staleness_ms = -1;
  client::MemberList members;  // for kStatus
};

class RpcEnds {
 public:
  virtual ~RpcEnds() = default;
  virtual bool IsAlive(size_t node) const = 0;
  virtual void OnRequest(size_t node, Request request) = 0;
  virtual void OnResponse(size_t client, size_t node, Response response) = 0;
  // The request was never sent: nobody listens there.
  virtual void OnNotSent(size_t client, size_t node, uint64_t id) = 0;
  // Whatever the client has under way to the node will not be answered.
  virtual void OnBroken(size_t client, size_t node) = 0;
};

class SimRpc {
 public:
  SimRpc(const SimContext& context, size_t clients, size_t nodes, RpcEnds* ends, Random random);

  void Send(size_t node, Request request);
  void Reply(size_t node, size_t client, Response response);
  // The process of the node has ended.
  void OnEnd(size_t node);
  // What the two say to each other is lost from now on, without either hearing of it.
  void Cut(size_t client, size_t node, bool cut) { LinkOf(client, node).cut = cut; }

 private:
  struct Link {
    bool cut = false;
    uint64_t epoch = 0;
  };
  Link& LinkOf(size_t client, size_t node) { return links_[client * nodes_ + node]; }
  uint64_t DelayMicros();

  const SimContext context_;
  const size_t clients_;
  const size_t nodes_;
  RpcEnds* const ends_;
  Random random_;
  std::vector<Link> links_;
};

}  // namespace skein::sim
