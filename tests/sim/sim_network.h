// The network between simulated nodes: for each ordered pair a stream, as the transport has it,
// over a link that delays, loses, repeats and reorders. Every message passes the real wire codec.
//
// A stream that breaks loses its tail, and is reopened as soon as both ends can be reached.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <deque>
#include <vector>

#include "replication/transport.h"
#include "tests/sim/sim_context.h"

namespace skein::sim {

// Where messages and news of links go.
class NetworkEnds {
 public:
  virtual ~NetworkEnds() = default;
  virtual bool IsAlive(size_t node) const = 0;
  virtual void OnMessage(size_t node, Message message) = 0;
  virtual void OnLink(size_t node, Event event) = 0;
};

class SimNetwork {
 public:
  SimNetwork(const SimContext& context, size_t nodes, NetworkEnds* ends, Random random);

  // From `from`'s process: on its stream to message.to, or dropped.
  void Send(size_t from, const Message& message);

  // The process of the node has begun, or ended.
  void OnStart(size_t node);
  void OnEnd(size_t node);

  // Faults. Counted, so that several can hold one link down.
  void Cut(size_t from, size_t to) { ++LinkOf(from, to).cuts; }
  void Uncut(size_t from, size_t to) { --LinkOf(from, to).cuts; }
  // Nothing arrives before this time.
  void Clog(size_t from, size_t to, uint64_t until_us);
  // Messages that were sent to the node long ago arrive once more.
  void ReplayOld(size_t to);
  // What is under way on the stream is lost from some point on.
  void Break(size_t from, size_t to);
  // No cuts and clogs, and no more loss, duplicates, reordering and replays.
  void HealAll();

 private:
  struct Link {
    bool up = false;
    bool opening = false;
    int cuts = 0;
    uint64_t clogged_until_us = 0;
    uint64_t epoch = 0;
    uint64_t lost_from_us = 0;             // of the stream of the epoch before
    uint64_t last_arrival_us[2] = {0, 0};  // of its bulk and its other messages
    size_t under_way = 0;
    std::deque<grpc::ByteBuffer> old;  // for replays
  };

  Link& LinkOf(size_t from, size_t to) { return links_[from * nodes_ + to]; }
  void Arrive(size_t from, size_t to, uint64_t epoch, grpc::ByteBuffer bytes);
  void Deliver(size_t from, size_t to, grpc::ByteBuffer bytes);
  void TryOpen(size_t from, size_t to);
  void Down(size_t from, size_t to);

  const SimContext context_;
  const size_t nodes_;
  NetworkEnds* const ends_;
  Random random_;
  std::vector<Link> links_;
  bool calm_ = false;
};

// What a message looks like in a trace.
std::string DescribeMessage(const Message& message);

}  // namespace skein::sim
