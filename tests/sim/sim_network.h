// The network between simulated nodes: for each ordered pair a link, on which one stream follows
// the other as the transport has it. Every message passes the real wire codec.
//
// It keeps the contract of Transport, unless the seed has drawn loss, duplicates, reordering or
// replays: those are worse than any real network, and what the protocol bears all the same.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <deque>
#include <map>
#include <memory>
#include <utility>
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

  // The node's data directory was wiped: nothing that it sent or was sent is replayed any more.
  void Forget(size_t node);
  bool calm() const { return calm_; }  // since HealAll
  size_t nodes() const { return nodes_; }
  // Whether a call from one node to another goes through at the moment.
  bool Reaches(size_t from, size_t to);

  // Faults. What a cut has swallowed is lost with all that follows on its stream, which breaks when
  // the cut ends or has lasted for long. Counted, so that several can hold one link down.
  void Cut(size_t from, size_t to);
  void Uncut(size_t from, size_t to);
  // Nothing arrives before this time.
  void Clog(size_t from, size_t to, uint64_t until_us);
  // Messages that were sent to the node long ago arrive once more.
  void ReplayOld(size_t to);
  // So do, within this time, the answers that it was given in terms before this one.
  void ReplayAnswers(size_t to, Term before, uint64_t within_us);
  // What is under way on the stream is lost from some point on.
  void Break(size_t from, size_t to);
  // A byte of the next message changes on the way.
  void Garble(size_t from, size_t to) { LinkOf(from, to).garbles = true; }
  // No cuts and clogs, and no more loss, duplicates, reordering and replays.
  void HealAll();

 private:
  static constexpr size_t kKinds = 2;  // bulk, and all other

  struct Parcel {
    size_t kind;
    grpc::ByteBuffer bytes;
  };
  struct Stream {
    uint64_t lost_from_us = ~uint64_t{0};
    bool swallows = false;  // a cut has taken something, and takes all that comes after it
    uint64_t last_arrival_us[kKinds] = {};
    size_t under_way[kKinds] = {};
    std::deque<Parcel> held;  // arrived while the link was clogged, in order
  };
  using StreamPtr = std::shared_ptr<Stream>;

  enum class Told : uint8_t { kNothing, kUp, kDown, kRefused };

  struct Link {
    StreamPtr stream = std::make_shared<Stream>();
    bool up = false;
    bool opening = false;
    Told told = Told::kNothing;  // to the process that sends by it
    int cuts = 0;
    uint64_t cut_number = 0;  // that it has been cut
    bool garbles = false;
    uint64_t clogged_until_us = 0;
    uint64_t wipes = 0;                // of the nodes at its ends
    std::deque<grpc::ByteBuffer> old;  // for replays
    // The last answer of each kind of body in each of the last terms, for replays.
    std::map<std::pair<Term, size_t>, grpc::ByteBuffer> answers;
  };

  Link& LinkOf(size_t from, size_t to) { return links_[from * nodes_ + to]; }
  bool CanConnect(size_t from, size_t to);
  void Remember(const Message& message, const grpc::ByteBuffer& bytes, Link* link);
  void Arrive(size_t from, size_t to, const StreamPtr& stream, Parcel parcel);
  void Release(size_t from, size_t to, const StreamPtr& stream);
  void Pass(size_t from, size_t to, const StreamPtr& stream, Parcel parcel);
  void Deliver(size_t from, size_t to, grpc::ByteBuffer bytes);
  void DeliverGarbled(size_t from, size_t to, const grpc::ByteBuffer& bytes);
  void BreakAt(size_t from, size_t to, uint64_t lost_from_us);
  void TryOpen(size_t from, size_t to);
  void TellDown(size_t from, size_t to);

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
