// What Replica knows of the applied state.
#pragma once

#include <vector>

#include "replication/log_store.h"

namespace skein {

// Called from the replica's thread. Apply returns at once and completes by an event.
class StateMachine {
 public:
  virtual ~StateMachine() = default;

  // What the state holds: the position and revision of the last applied entry.
  virtual LogPoint Recovered() const = 0;

  // Completions go to `sink`, which outlives the state machine. Call once.
  virtual void Start(EventSink* sink) = 0;

  // Applies committed entries, dense from the one after the last applied; each entry becomes
  // visible as a whole, together with its position (R5). Posts Applied, one or several times, in
  // order; StateDurable whenever more of it would survive a crash; StorageFailed on failure, after
  // which nothing is applied. Apply is deterministic: it depends on nothing but state and entries.
  virtual void Apply(std::vector<EntryPtr> entries) = 0;

  // Once everything that was asked for before is applied: puts the fetched snapshot that stands for
  // `base` in the place of the whole state, and posts Installed. A crash amid it leaves the old
  // state or the new. If the snapshot is not there, or not sound, the old state stays, and Apply
  // goes on from it.
  virtual void Install(const LogBase& base) = 0;
};

}  // namespace skein
