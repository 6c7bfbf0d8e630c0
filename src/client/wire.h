// The streams and status calls of one client, on one gRPC completion queue: the only place where
// gRPC meets the dispatcher. Knows nothing of calls, routing or retries.
//
// Threads: Wake from any thread; everything else from the dispatcher's thread, on which the
// functions of WireEvents are called, inside Poll only.
//
// Invariants.
//  1. A slot has at most one stream that is not closed. OnClosed is the last word of a stream.
//  2. A batch is handed over only on an open stream with no batch in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/channels.h"

namespace skein::v1 {
class PipelineResponse;
class StatusResponse;
}  // namespace skein::v1

namespace skein::client {

class WireEvents {
 public:
  virtual ~WireEvents() = default;
  // The node has taken the stream, and has told its state in a message without answers, which
  // follows; Write may be called.
  virtual void OnOpen(size_t slot) = 0;
  // The last batch has left; Write may be called again.
  virtual void OnWritten(size_t slot) = 0;
  virtual void OnAnswers(size_t slot, v1::PipelineResponse* answers) = 0;
  // The stream broke: Write must not be called any more, OnClosed follows.
  virtual void OnBroken(size_t slot) = 0;
  // The stream failed to open or broke; it is gone. What was written into it may have been taken,
  // except by a node that ends it with SHUTTING_DOWN: that has answered everything that it took.
  virtual void OnClosed(size_t slot, const absl::Status& why) = 0;
  virtual void OnStatus(size_t slot, const absl::Status& error,
                        const v1::StatusResponse& status) = 0;
};

class Wire {
 public:
  Wire(std::shared_ptr<ChannelPool> channels, WireEvents* events);
  // After Shutdown.
  ~Wire();

  // Begins to open a stream; the slot must have none.
  void Open(size_t slot, const std::string& address);
  // `batch` is an encoded skein.v1.PipelineRequest.
  void Write(size_t slot, std::string batch);
  // Gives the slot's stream up, if it has one; OnClosed follows.
  void Cancel(size_t slot);
  void AskStatus(size_t slot, const std::string& address, uint64_t timeout_us);

  // Waits until something happens, Wake is called or `timeout_us` has passed, and handles it.
  void Poll(uint64_t timeout_us);
  void Wake();

  // Cancels everything and waits for it to end, without further calls of WireEvents.
  void Shutdown();

 private:
  struct Queue;
  class Event;
  class Stream;
  class StatusCall;

  std::unique_ptr<Queue> queue_;
  const std::shared_ptr<ChannelPool> channels_;
  WireEvents* const events_;
  std::vector<Stream*> streams_;  // by slot; each owns itself until its last event
  std::vector<StatusCall*> status_calls_;
  int events_expected_ = 0;  // tags that the queue still owes
  bool quiet_ = false;       // shutting down: nothing is reported any more
  std::atomic<bool> wake_set_{false};
};

}  // namespace skein::client
