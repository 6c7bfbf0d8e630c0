// What operators ask of a leader: changes of the members, and handing leadership over.
//
// A change that comes while the leader is busy with one of its own (a data directory it has seen, a
// learner that is level), or has only just been elected, waits for that, so that an operator is
// never told of another change that nobody asked for.
//
// A leader that is to be removed first hands over, and then says who leads: it could not see what
// becomes of the writes that it has taken.
//
// Invariant: every call is answered once, at the latest when its time is over or the node stops.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "server/event_loop.h"

namespace skein {

class OperatorCalls {
 public:
  // The change that is asked for, of these members; or why it makes no sense.
  using MakeChange = absl::AnyInvocable<absl::StatusOr<MembershipChange>(const Membership&)>;
  // The members after the change, which is committed.
  using ChangeDone = absl::AnyInvocable<void(absl::StatusOr<MembershipsInForce>)>;

  struct Handover {
    std::string leader;  // who leads now
    Term term;
    uint64_t pause_us = 0;  // nobody took writes for so long, as this node sees it
  };
  using TransferDone = absl::AnyInvocable<void(absl::StatusOr<Handover>)>;

  struct Options {
    std::string node_name;
    uint64_t change_wait_us = 10'000'000;  // until it is committed
    uint64_t leader_wait_us = 2'000'000;   // for another leader, once this node has stepped down
  };

  // Loop and clock outlive the calls.
  OperatorCalls(Options options, EventLoop* loop, const Clock* clock)
      : options_(std::move(options)), loop_(loop), clock_(clock) {}

  // What is said of a name that no member has.
  static absl::Status NoSuchMember(const Membership& membership, const std::string& name);

  // Thread-safe. Answered on the loop's thread; must not block. Errors carry an ErrorDetail.
  void Change(MakeChange make, ChangeDone done);
  // `target`: the name of a member; empty: the most advanced voter.
  void Transfer(std::string target, TransferDone done);

  // On the loop's thread: after the replica has performed, and after it was stopped.
  void AfterPerform(Replica& replica);

 private:
  struct WaitingChange {
    uint64_t deadline_us = 0;
    MakeChange make;
    ChangeDone done;
  };
  struct WaitingTransfer {
    uint64_t began_us = 0;
    uint64_t deadline_us = 0;
    TransferDone done;
  };

  bool MustWait(const Replica& replica) const;
  void Try(Replica& replica, WaitingChange change);
  void Make(Replica& replica, const MembershipChange& wanted, WaitingChange change);
  void HandOverFirst(Replica& replica, const MembershipChange& wanted, WaitingChange change);
  void Begin(Replica& replica, const std::string& target, TransferDone done);
  bool Settle(const Replica& replica, WaitingTransfer* transfer) const;
  absl::Status NotLeader(const Replica& replica) const;
  absl::Status Explain(const Replica& replica, const absl::Status& status) const;

  const Options options_;
  EventLoop* const loop_;
  const Clock* const clock_;

  // Owned by the loop's thread.
  int changes_under_way_ = 0;  // in the log, and not known to be committed
  std::deque<WaitingChange> changes_;
  std::vector<WaitingTransfer> transfers_;
};

}  // namespace skein
