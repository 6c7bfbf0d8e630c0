// What Replica knows of the durable log.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "replication/core/event.h"
#include "replication/core/recovery.h"

namespace skein {

// Where completions go. Thread-safe; never blocks; events of one caller arrive in the order posted.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Post(Event event) = 0;
};

// The durable log of one node. Called from one thread, the replica's. Writes and reads return at
// once and complete by an event: writes in the order in which they were asked for, and so do reads.
// A read may complete after a write that was asked for later, but never sees its truncation.
class LogStore {
 public:
  virtual ~LogStore() = default;

  // Once, before anything else. kDataLoss if the log cannot be trusted: names file and index.
  virtual absl::StatusOr<LogRecovery> Recover() = 0;

  // Completions go to `sink`, which outlives the store. Call once, after Recover.
  virtual void Start(EventSink* sink) = 0;

  // Makes the write durable, atomically, then posts Persisted. Several may be under way; they
  // become durable in order. A failure posts StorageFailed, and nothing completes after it (R7).
  virtual void Write(LogWrite write) = 0;

  // Posts LogReadDone. Sees every write that was issued before it. The index must be retained.
  virtual void Read(LogRead read) = 0;

  // Entries up to and including `index` will not be asked for again; the space is given back some
  // time later. Never above what was persisted; lower than before is ignored.
  virtual void Trim(Index index) = 0;

  // The first index that can still be read. Thread-safe.
  virtual Index FirstIndex() const = 0;
};

}  // namespace skein
