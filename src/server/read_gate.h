// Readers that wait for this node to have applied a revision (R17), and the thread that reads for
// them then.
//
// Invariant: every reader is called exactly once, at the latest at its deadline or when the gate
// stops: on the gate's thread, or on the caller's once that has ended.
#pragma once

#include <map>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/types.h"

namespace skein {

class ReadGate {
 public:
  // `reached`: the revision is applied. False: the deadline came first.
  using Reader = absl::AnyInvocable<void(bool reached)>;

  explicit ReadGate(const Clock* clock);
  ~ReadGate();

  // Thread-safe, all of them.
  void WhenApplied(Revision revision, uint64_t deadline_us, Reader reader);
  // Calls the reader as soon as the thread is free.
  void Run(Reader reader);
  void OnApplied(Revision revision);
  // Ends the thread after calling everybody who waits. Idempotent.
  void Stop();

 private:
  struct Waiting {
    uint64_t deadline_us;
    Reader reader;
  };

  void Loop();
  // Moves those who are due to `ready_`. Returns when the next deadline is.
  uint64_t CollectDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Clock* const clock_;
  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // the thread calls nobody any more
  Revision applied_ ABSL_GUARDED_BY(mu_);
  std::multimap<Revision, Waiting> waiting_ ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<Reader, bool>> ready_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace skein
