#include "client/operator_calls.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "absl/time/clock.h"
#include "client/call_plan.h"
#include "client/call_status.h"
#include "client/cluster_calls.h"
#include "client/codec.h"
#include "common/mutex.h"
#include "common/random.h"
#include "skein/v1/cluster.grpc.pb.h"

namespace skein::client {
namespace {

// A client that is new waits so long for the nodes to say who leads, rather than ask the wrong one.
constexpr uint64_t kLeaderWaitUs = 300'000;
constexpr absl::Duration kLeaderPollInterval = absl::Milliseconds(5);

template <typename Request, typename Response>
using Method = grpc::Status (v1::Cluster::StubInterface::*)(grpc::ClientContext*, const Request&,
                                                            Response*);

struct Target {
  std::optional<size_t> slot;
  std::string address;  // empty: there is none
  bool leads = false;
};

// The leader if it is known and up, else any node.
Target PickTarget(Dispatcher* dispatcher, uint64_t random) {
  Target target;
  Notification done;
  dispatcher->RunOnLoop([&](ClusterView* view, Router* router) {
    target.slot = router->PickWriter(*view, {}, random);
    if (target.slot.has_value()) target.address = view->node(*target.slot).address;
    target.leads = target.slot.has_value() && target.slot == view->Leader();
    done.Notify();
  });
  done.Wait();
  return target;
}

Target AwaitTarget(Dispatcher* dispatcher, uint64_t until_us, uint64_t random) {
  while (true) {
    Target target = PickTarget(dispatcher, random);
    if (target.leads || dispatcher->NowMicros() >= until_us) return target;
    absl::SleepFor(kLeaderPollInterval);
  }
}

// What the view makes of the outcome, and the circumstances after it.
Circumstances Learn(Dispatcher* dispatcher, const Outcome& outcome, uint64_t random) {
  Circumstances now;
  Notification done;
  dispatcher->RunOnLoop([&](ClusterView* view, Router*) {
    if (outcome.happened == Happened::kRefused) {
      const ErrorDetail detail = DetailOf(outcome.error);
      view->ObserveLeaderHint(detail.leader_id, detail.leader_address, Term(detail.term));
    } else if (outcome.slot.has_value()) {
      view->MarkDown(*outcome.slot);
    }
    now.leader = view->Leader();
    now.leader_up = now.leader.has_value() && view->node(*now.leader).up;
    now.any_node_up = view->AnyUp();
    if (outcome.slot.has_value()) {
      now.another_leader_claimed = view->AnotherLeaderClaimed(*outcome.slot);
    }
    done.Notify();
  });
  done.Wait();
  now.now_us = dispatcher->NowMicros();
  now.random = random;
  return now;
}

// Only a call that was not begun on a broken connection has certainly not arrived.
bool AwaitConnection(grpc::Channel* channel, std::chrono::system_clock::time_point until) {
  while (true) {
    const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) return false;
    if (!channel->WaitForStateChange(state, until)) return false;
  }
}

// A leader that says "not now" has not done it: as good as a node that does not lead.
absl::Status NotNow(const absl::Status& status) {
  ErrorDetail detail = DetailOf(status);
  if (!absl::IsUnavailable(status) || detail.reason != ErrorReason::kNone || detail.maybe_applied) {
    return status;
  }
  detail.reason = ErrorReason::kNotLeader;
  return MakeError(status.code(), MessageOf(status), detail);
}

// One call to one node. OK: *response holds the answer.
template <typename Request, typename Response>
Outcome CallNode(ChannelPool* channels, const Target& target, const Dispatcher& dispatcher,
                 uint64_t deadline_us, Method<Request, Response> method, const Request& request,
                 Response* response) {
  Outcome outcome;
  outcome.slot = target.slot;
  outcome.address = target.address;
  outcome.error = absl::UnavailableError("no node takes the request now");
  if (target.address.empty()) return outcome;
  const uint64_t now_us = dispatcher.NowMicros();
  const std::chrono::microseconds left(deadline_us - std::min(now_us, deadline_us));
  const auto start = std::chrono::system_clock::now();
  const std::chrono::microseconds attempt = dispatcher.options().read_attempt_timeout * 2;
  const std::shared_ptr<grpc::Channel> channel = channels->Get(target.address);
  if (!AwaitConnection(channel.get(), start + std::min(left, attempt))) {
    outcome.error = absl::UnavailableError("cannot connect");
    return outcome;
  }
  grpc::ClientContext context;
  context.set_deadline(start + left);
  const std::unique_ptr<v1::Cluster::StubInterface> stub = v1::Cluster::NewStub(channel);
  bool from_node = false;
  outcome.error = StatusOfCall((stub.get()->*method)(&context, request, response), &from_node);
  outcome.sent = true;
  if (from_node || outcome.error.code() == absl::StatusCode::kUnimplemented) {
    outcome.happened = Happened::kRefused;
    outcome.error = NotNow(outcome.error);
  } else {
    outcome.happened =
        absl::IsDeadlineExceeded(outcome.error) ? Happened::kDeadline : Happened::kBroken;
  }
  return outcome;
}

std::chrono::milliseconds DeadlineOf(const Dispatcher& dispatcher,
                                     std::chrono::milliseconds deadline) {
  return deadline.count() > 0 ? deadline : dispatcher.options().deadline;
}

uint64_t Micros(std::chrono::milliseconds duration) {
  return static_cast<uint64_t>(duration.count()) * 1000;
}

// To the leader, with the rules of a write.
template <typename Request, typename Response>
absl::StatusOr<Response> Call(Dispatcher* dispatcher, ChannelPool* channels,
                              std::chrono::milliseconds deadline, Method<Request, Response> method,
                              const Request& request) {
  if (dispatcher->OnLoopThread()) return NoCallInsideCallback();
  const uint64_t start_us = dispatcher->NowMicros();
  const uint64_t deadline_us = start_us + Micros(DeadlineOf(*dispatcher, deadline));
  CallPlan plan(CallKind::kWrite, start_us, deadline_us,
                Micros(dispatcher->options().unreachable_patience));
  const uint64_t leader_until_us = std::min(start_us + kLeaderWaitUs, deadline_us);
  Random random(Random::SeedFromSystem());
  while (true) {
    const Target target = AwaitTarget(dispatcher, leader_until_us, random.Next());
    Response response;
    const Outcome outcome =
        CallNode(channels, target, *dispatcher, deadline_us, method, request, &response);
    if (outcome.error.ok()) return response;
    const NextStep step = plan.After(outcome, Learn(dispatcher, outcome, random.Next()));
    if (step.give_up) return step.status;
    absl::SleepFor(absl::Microseconds(static_cast<int64_t>(step.delay_us)));
  }
}

// A program that cannot know whether a change was made must look, not read keys.
absl::Status ForOperators(const absl::Status& status, const std::string& hint) {
  ErrorDetail detail = DetailOf(status);
  if (status.code() == absl::StatusCode::kUnimplemented) {
    return MakeError(status.code(), "the node's software is too old for this call",
                     {.hint = "upgrade skeind on all nodes first"});
  }
  if (!detail.maybe_applied) return status;
  detail.hint = hint;
  return MakeError(status.code(), MessageOf(status), detail);
}

template <typename Request>
absl::StatusOr<ClusterMembers> Change(Dispatcher* dispatcher, ChannelPool* channels,
                                      std::chrono::milliseconds deadline,
                                      Method<Request, v1::ChangeResponse> method,
                                      const Request& request) {
  const auto response = Call(dispatcher, channels, deadline, method, request);
  if (response.ok()) return DecodeMembers(response->members());
  return ForOperators(response.status(),
                      "the change may have been made, or may yet be: ask for the members");
}

}  // namespace

absl::StatusOr<ClusterMembers> AskMembers(Dispatcher* dispatcher, ChannelPool* channels,
                                          std::chrono::milliseconds deadline) {
  if (dispatcher->OnLoopThread()) return NoCallInsideCallback();
  deadline = DeadlineOf(*dispatcher, deadline);
  const uint64_t deadline_us = dispatcher->NowMicros() + Micros(deadline);
  const auto timeout = std::min(deadline, dispatcher->options().read_attempt_timeout);
  while (true) {
    const auto address = FindWhoKnowsTheMembers(dispatcher, channels, timeout);
    if (!address.ok()) return address.status();
    v1::MembersResponse response;
    const Outcome outcome =
        CallNode(channels, {.address = *address}, *dispatcher, deadline_us,
                 &v1::Cluster::StubInterface::Members, v1::MembersRequest(), &response);
    if (outcome.error.ok()) return DecodeMembers(response);
    // The node may have gone since it answered; the others know of that soon.
    const bool again = absl::IsUnavailable(outcome.error) && dispatcher->NowMicros() < deadline_us;
    if (!again) return ForOperators(outcome.error, "");
    absl::SleepFor(kLeaderPollInterval);
  }
}

absl::StatusOr<ClusterMembers> AddMember(Dispatcher* dispatcher, ChannelPool* channels,
                                         const std::string& id, const std::string& address,
                                         const AddMemberOptions& options) {
  v1::AddMemberRequest request;
  request.set_id(id);
  request.set_address(address);
  request.set_promote_when_level(options.promote_when_level);
  request.set_never_votes(options.never_votes);
  request.set_upstream_id(options.upstream_id);
  return Change(dispatcher, channels, options.deadline, &v1::Cluster::StubInterface::AddMember,
                request);
}

absl::StatusOr<ClusterMembers> PromoteMember(Dispatcher* dispatcher, ChannelPool* channels,
                                             const std::string& id,
                                             std::chrono::milliseconds deadline) {
  v1::PromoteMemberRequest request;
  request.set_id(id);
  return Change(dispatcher, channels, deadline, &v1::Cluster::StubInterface::PromoteMember,
                request);
}

absl::StatusOr<ClusterMembers> RemoveMember(Dispatcher* dispatcher, ChannelPool* channels,
                                            const std::string& id,
                                            const RemoveMemberOptions& options) {
  v1::RemoveMemberRequest request;
  request.set_id(id);
  request.set_force(options.force);
  return Change(dispatcher, channels, options.deadline, &v1::Cluster::StubInterface::RemoveMember,
                request);
}

absl::StatusOr<ClusterMembers> MoveMember(Dispatcher* dispatcher, ChannelPool* channels,
                                          const std::string& id, const std::string& address,
                                          std::chrono::milliseconds deadline) {
  v1::MoveMemberRequest request;
  request.set_id(id);
  request.set_address(address);
  return Change(dispatcher, channels, deadline, &v1::Cluster::StubInterface::MoveMember, request);
}

absl::StatusOr<ClusterMembers> SetUpstream(Dispatcher* dispatcher, ChannelPool* channels,
                                           const std::string& id, const std::string& upstream_id,
                                           std::chrono::milliseconds deadline) {
  v1::SetUpstreamRequest request;
  request.set_id(id);
  request.set_upstream_id(upstream_id);
  return Change(dispatcher, channels, deadline, &v1::Cluster::StubInterface::SetUpstream, request);
}

absl::StatusOr<LeadershipTransfer> TransferLeadership(Dispatcher* dispatcher, ChannelPool* channels,
                                                      const std::string& target,
                                                      std::chrono::milliseconds deadline) {
  v1::TransferRequest request;
  request.set_target_id(target);
  const auto response = Call(dispatcher, channels, deadline,
                             &v1::Cluster::StubInterface::TransferLeadership, request);
  if (!response.ok()) {
    return ForOperators(response.status(), "leadership may have moved: ask for the status");
  }
  return LeadershipTransfer{response->leader_id(), response->term(), response->pause_us()};
}

}  // namespace skein::client
