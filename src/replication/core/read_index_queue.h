// Who waits at the leader for proof that it still leads (R14): readers here, readers on followers,
// and the freshness stamps of followers (R16). A heartbeat round that started after a request
// arrived, once a quorum has answered it, proves the leadership for that request.
#pragma once

#include <deque>
#include <vector>

#include "replication/core/message.h"

namespace skein {

struct ReadRequest {
  NodeId peer;            // 0: a reader on this node
  uint64_t id = 0;        // of the reader; 0 for a stamp
  uint64_t stamp_us = 0;  // of the peer; 0 for a reader
  Index index;            // the commit index when it arrived
  uint64_t round = 0;     // the first round that may prove it

  bool IsStamp() const { return stamp_us != 0; }
};

class ReadIndexQueue {
 public:
  // `round`: the first that starts after now. Requests come with rising rounds.
  void Add(ReadRequest request, uint64_t round) {
    request.round = round;
    readers_ += request.IsStamp() ? 0 : 1;
    waiting_.push_back(request);
  }

  // Forgets the readers of this node.
  void DropReadersOf(NodeId peer) {
    readers_ -= std::erase_if(waiting_, [peer](const ReadRequest& request) {
      return request.peer == peer && !request.IsStamp();
    });
  }

  // Takes out everything that a quorum's answer to `round` proves.
  std::vector<ReadRequest> TakeProven(uint64_t round) {
    std::vector<ReadRequest> proven;
    while (!waiting_.empty() && waiting_.front().round <= round) {
      readers_ -= waiting_.front().IsStamp() ? 0 : 1;
      proven.push_back(waiting_.front());
      waiting_.pop_front();
    }
    return proven;
  }

  std::vector<ReadRequest> TakeAll() { return TakeProven(~uint64_t{0}); }

  size_t size() const { return waiting_.size(); }
  // True if someone waits for whom it is worth to start a round at once.
  bool HasReaders() const { return readers_ > 0; }

 private:
  std::deque<ReadRequest> waiting_;
  size_t readers_ = 0;
};

}  // namespace skein
