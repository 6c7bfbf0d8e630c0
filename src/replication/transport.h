// What Replica knows of the network.
#pragma once

#include "replication/core/message.h"

namespace skein {

// Carries messages to the other nodes, to each by a link of its own, in that direction alone.
// Called from one thread, the replica's. What arrives at a node is posted to its EventSink as
// Received; of the links that it sends by it hears as LinkUp and LinkDown.
//
//  1. A link is down until its first LinkUp. It comes up whenever the peer can be reached: also
//     after it broke, and after the peer's process has ended and another has begun.
//  2. LinkUp and LinkDown of a link alternate, but for one LinkDown{refused} that may follow
//  another
//     LinkDown. Refused: nobody listens where the peer should.
//  3. What arrives was sent, is unchanged, arrives once, and at its addressee alone.
//  4. What is sent while the link is down is dropped: it never arrives.
//  5. Of the messages of one kind, bulk or other, that are sent between a LinkUp and the LinkDown
//     after it those that arrive do so in the order in which they were sent. The others are the
//     last ones, lost when the link broke; or they found the queue of their kind full; or their
//     bytes were damaged on the way. The first ones may arrive late: after the LinkDown, or even
//     after the next LinkUp and what was sent since.
//  6. A link by which something was sent, and whose peer takes nothing, is given up after a while.
//  7. What was sent to a process that has ended does not reach the one that follows it. When the
//     transport is gone, nothing is posted any more.
class Transport {
 public:
  virtual ~Transport() = default;

  // Sends, or drops: if the link is down or the queue for such messages is full, or if there is no
  // such peer. Never blocks, never fails.
  virtual void Send(Message message) = 0;
};

}  // namespace skein
