// What Replica knows of the network.
#pragma once

#include "replication/core/message.h"

namespace skein {

// Called from the replica's thread. What arrives is posted to an EventSink as Received, and the
// coming and going of links as LinkUp and LinkDown.
class Transport {
 public:
  virtual ~Transport() = default;

  // Sends, or drops: if the link is down or its queue is full. Never blocks, never fails. Messages
  // of one kind (bulk, other) to one node arrive in order while the link stands.
  virtual void Send(Message message) = 0;
};

}  // namespace skein
