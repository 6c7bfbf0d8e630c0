#include "client/cluster_calls.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/time/clock.h"
#include "client/call_status.h"
#include "client/codec.h"
#include "common/mutex.h"
#include "common/random.h"
#include "skein/v1/cluster.grpc.pb.h"
#include "skein/v1/kv.grpc.pb.h"

namespace skein::client {
namespace {

// One scan on one node, on the caller's thread.
class ScanCall {
 public:
  ScanCall(const Dispatcher* dispatcher, ChannelPool* channels, const std::string& address,
           std::chrono::milliseconds timeout)
      : dispatcher_(dispatcher),
        stub_(v1::Kv::NewStub(channels->Get(address))),
        timeout_(timeout) {}
  ~ScanCall() {
    cq_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (cq_.Next(&tag, &ok)) {
    }
  }

  // *answered: some message came, so the call cannot be repeated elsewhere.
  absl::Status Run(const v1::ScanRequest& request, const std::function<bool(KeyValue)>& visit,
                   ScanResult* result, bool* answered, bool* in_time) {
    reader_ = stub_->PrepareAsyncScan(&context_, request, &cq_);
    reader_->StartCall(this);
    bool stopped = false;
    bool ours = true;
    if (Await()) {
      while (!stopped && Next()) {
        cluster_id_ = response_.node().cluster_id();
        ours = dispatcher_->IsOurs(cluster_id_);
        if (!ours) break;
        *answered = true;
        stopped = !Deliver(request, visit, result);
      }
    }
    if (stopped || !ours) context_.TryCancel();
    grpc::Status status;
    reader_->Finish(&status, this);
    void* tag = nullptr;
    bool ok = false;
    cq_.Next(&tag, &ok);
    *in_time = in_time_;
    if (stopped) return absl::OkStatus();
    if (!ours) return absl::UnavailableError("the node is not in the cluster's latest history");
    return StatusOfCall(status);
  }

  // Of the node that answered; 0: not told.
  uint64_t cluster_id() const { return cluster_id_; }

 private:
  bool Next() {
    response_.Clear();
    reader_->Read(&response_, this);
    return Await();
  }

  // False: the visitor has had enough.
  bool Deliver(const v1::ScanRequest& request, const std::function<bool(KeyValue)>& visit,
               ScanResult* result) {
    result->by = DecodeNode(response_.node());
    if (request.count_only()) {
      result->count = response_.count();
      return true;
    }
    for (v1::KeyValue& item : *response_.mutable_items()) {
      ++result->count;
      if (!visit(
              {std::move(*item.mutable_key()), std::move(*item.mutable_value()), item.version()})) {
        return false;
      }
    }
    return true;
  }

  // Waits for the one event that is due; cancels the call when it takes too long.
  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    const auto deadline = std::chrono::system_clock::now() + timeout_;
    if (cq_.AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::GOT_EVENT) return ok;
    in_time_ = false;
    context_.TryCancel();
    cq_.Next(&tag, &ok);
    return false;
  }

  const Dispatcher* const dispatcher_;
  std::unique_ptr<v1::Kv::Stub> stub_;
  const std::chrono::milliseconds timeout_;
  grpc::ClientContext context_;
  grpc::CompletionQueue cq_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::ScanResponse>> reader_;
  v1::ScanResponse response_;
  uint64_t cluster_id_ = 0;
  bool in_time_ = true;
};

// On the loop, which knows of no other history meanwhile.
void RaiseToken(Dispatcher* dispatcher, uint64_t revision, uint64_t cluster_id) {
  Notification done;
  dispatcher->RunOnLoop([&](ClusterView*, Router*) {
    if (dispatcher->IsOurs(cluster_id)) dispatcher->RaiseToken(revision);
    done.Notify();
  });
  done.Wait();
}

struct Target {
  std::optional<size_t> slot;
  std::string address;
};

Target PickTarget(Dispatcher* dispatcher, ReadPolicy policy, const TriedSet& tried,
                  uint64_t random) {
  Target target;
  Notification done;
  dispatcher->RunOnLoop([&](ClusterView* view, Router* router) {
    target.slot = router->PickReader(*view, policy, tried, random);
    if (target.slot.has_value()) target.address = view->node(*target.slot).address;
    done.Notify();
  });
  done.Wait();
  return target;
}

Circumstances AskCircumstances(Dispatcher* dispatcher, ReadPolicy policy, TriedSet tried,
                               const Outcome& outcome, uint64_t random) {
  Circumstances now;
  if (outcome.slot.has_value()) tried.Add(*outcome.slot);
  Notification done;
  dispatcher->RunOnLoop([&](ClusterView* view, Router* router) {
    if (outcome.happened != Happened::kRefused && outcome.slot.has_value()) {
      view->MarkDown(*outcome.slot);
    }
    now.any_node_up = view->AnyUp();
    now.untried_node_left = router->PickReader(*view, policy, tried, random).has_value();
    done.Notify();
  });
  done.Wait();
  now.now_us = dispatcher->NowMicros();
  now.random = random;
  return now;
}

v1::ScanRequest RequestOf(const ScanOptions& options, bool count_only, uint64_t token,
                          uint64_t wait_ms) {
  v1::ScanRequest request;
  request.set_start(options.start);
  request.set_end(options.end);
  request.set_prefix(options.prefix);
  request.set_limit(options.limit);
  request.set_reverse(options.reverse);
  request.set_keys_only(options.keys_only);
  request.set_count_only(count_only);
  *request.mutable_read() = EncodeReadOptions(options.read, token, wait_ms);
  return request;
}

Outcome OutcomeOf(const Target& target, const absl::Status& status, bool in_time) {
  Outcome outcome;
  outcome.slot = target.slot;
  outcome.address = target.address;
  outcome.error = status;
  if (!in_time) {
    outcome.happened = Happened::kSlow;
  } else if (DetailOf(status).reason != ErrorReason::kNone ||
             status.code() != absl::StatusCode::kUnavailable) {
    outcome.happened = Happened::kRefused;
  }
  return outcome;
}

}  // namespace

absl::StatusOr<ScanResult> Scan(Dispatcher* dispatcher, ChannelPool* channels,
                                const ScanOptions& options, bool count_only,
                                const std::function<bool(KeyValue)>& visit) {
  if (dispatcher->OnLoopThread()) return NoCallInsideCallback();
  const ClientOptions& defaults = dispatcher->options();
  const auto deadline =
      options.read.deadline.count() > 0 ? options.read.deadline : defaults.deadline;
  const ReadPolicy policy = options.read.policy.value_or(defaults.read_policy);
  const uint64_t start_us = dispatcher->NowMicros();
  CallPlan plan(CallKind::kRead, start_us,
                start_us + static_cast<uint64_t>(deadline.count()) * 1000,
                static_cast<uint64_t>(defaults.unreachable_patience.count()) * 1000);
  const auto timeout = std::min(deadline, defaults.read_attempt_timeout * 2);
  const v1::ScanRequest request =
      RequestOf(options, count_only, dispatcher->token(),
                std::max<uint64_t>(1, static_cast<uint64_t>(timeout.count()) / 2));
  Random random(Random::SeedFromSystem());
  while (true) {
    const Target target = PickTarget(dispatcher, policy, plan.tried(), random.Next());
    ScanResult result;
    bool answered = false;
    bool in_time = true;
    uint64_t cluster_id = 0;
    absl::Status status = absl::UnavailableError("no node takes the request now");
    if (target.slot.has_value()) {
      ScanCall call(dispatcher, channels, target.address, timeout);
      status = call.Run(request, visit, &result, &answered, &in_time);
      cluster_id = call.cluster_id();
    }
    if (status.ok()) {
      RaiseToken(dispatcher, result.by.applied_revision, cluster_id);
      return result;
    }
    if (answered) {
      return MakeError(absl::StatusCode::kUnavailable,
                       fmt::format("the scan on {} broke off after {} items: {}", target.address,
                                   result.count, MessageOf(status)),
                       {.hint = "start again; what was read is one consistent, incomplete view"});
    }
    const Outcome outcome = OutcomeOf(target, status, in_time);
    const NextStep step = plan.After(
        outcome, AskCircumstances(dispatcher, policy, plan.tried(), outcome, random.Next()));
    if (step.give_up) return step.status;
    absl::SleepFor(absl::Microseconds(static_cast<int64_t>(step.delay_us)));
  }
}

namespace {

// A node that was removed may know only of nodes that know better.
constexpr int kRoundsMax = 3;

struct StatusQuestion {
  std::string address;
  grpc::ClientContext context;
  std::unique_ptr<v1::Cluster::Stub> stub;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::StatusResponse>> reader;
  v1::StatusResponse answer;
  grpc::Status status;
};
using Questions = std::vector<std::unique_ptr<StatusQuestion>>;

// Asks all addresses at once, and appends what came back.
void Ask(ChannelPool* channels, const std::vector<std::string>& addresses,
         std::chrono::milliseconds timeout, Questions* questions) {
  grpc::CompletionQueue cq;
  const auto deadline = std::chrono::system_clock::now() + timeout;
  for (const std::string& address : addresses) {
    auto question = std::make_unique<StatusQuestion>();
    question->address = address;
    question->context.set_deadline(deadline);
    question->stub = v1::Cluster::NewStub(channels->Get(address));
    question->reader = question->stub->AsyncStatus(&question->context, {}, &cq);
    question->reader->Finish(&question->answer, &question->status, question.get());
    questions->push_back(std::move(question));
  }
  void* tag = nullptr;
  bool ok = false;
  for (size_t i = 0; i < addresses.size(); ++i) cq.Next(&tag, &ok);
  cq.Shutdown();
  while (cq.Next(&tag, &ok)) {
  }
}

// The answer that knows best who the members are, of those in the latest history: of the leader in
// the newest term, else of the node that has seen most. At least one node has answered.
const v1::StatusResponse* MembersOfWhom(const Questions& questions) {
  const auto rank = [](const v1::StatusResponse& answer) {
    return std::tuple(HistoryOf(Term(answer.term())), answer.role() == v1::ROLE_LEADER,
                      answer.term(), answer.membership_index());
  };
  const v1::StatusResponse* best = nullptr;
  for (const auto& question : questions) {
    if (!question->status.ok()) continue;
    if (best == nullptr || rank(question->answer) > rank(*best)) best = &question->answer;
  }
  return best;
}

// What some node's member list says of a node that may not have answered itself.
void FillFromMember(const v1::MemberStatus& member, bool from_leader, NodeStatus* node) {
  node->id = member.id();
  node->address = member.address();
  node->member = true;
  node->voter = member.voter();
  node->upstream_id = member.upstream_id();
  if (!from_leader) return;
  node->fed_by_id = member.fed_by_id();
  node->connected = member.connected();
  if (member.has_catch_up()) node->catch_up = DecodeCatchUp(member.catch_up());
  if (!node->reachable) return;
  node->lag = NodeLag{member.lag().revisions(), member.lag().bytes(), member.lag().milliseconds()};
}

ClusterStatus Assemble(const Questions& questions) {
  ClusterStatus cluster;
  std::map<std::string, NodeStatus> nodes;
  std::map<std::string, std::string> errors;  // by address
  const v1::StatusResponse* members_of = MembersOfWhom(questions);
  const bool from_leader = members_of->role() == v1::ROLE_LEADER;
  for (const auto& question : questions) {
    const v1::StatusResponse& answer = question->answer;
    if (!question->status.ok()) {
      errors[question->address] = question->status.error_message();
      continue;
    }
    NodeStatus node = DecodeStatus(answer);
    node.address = question->address;
    node.member = false;  // until a list names it
    // One that was left behind by a recovery is shown if there is no other of its name.
    const bool ours = answer.cluster_id() == members_of->cluster_id();
    if (ours) cluster.term = std::max(cluster.term, answer.term());
    if (ours)
      nodes.insert_or_assign(answer.node_id(), std::move(node));
    else
      nodes.try_emplace(answer.node_id(), std::move(node));
  }
  cluster.cluster_id = members_of->cluster_id();
  if (from_leader) cluster.leader_id = members_of->node_id();
  for (const v1::MemberStatus& member : members_of->members()) {
    NodeStatus& node = nodes[member.id()];
    FillFromMember(member, from_leader, &node);
    if (!node.reachable) node.error = errors[member.address()];
  }
  for (auto& [id, node] : nodes) cluster.nodes.push_back(std::move(node));
  return cluster;
}

// Where the answers say that other members are.
std::vector<std::string> NotYetAsked(const Questions& questions, std::set<std::string>* asked) {
  std::set<std::string> known_ids;
  std::vector<std::string> addresses;
  for (const auto& question : questions) {
    if (question->status.ok()) known_ids.insert(question->answer.node_id());
  }
  for (const auto& question : questions) {
    if (!question->status.ok()) continue;
    for (const v1::MemberStatus& member : question->answer.members()) {
      if (known_ids.count(member.id()) == 0 && asked->insert(member.address()).second) {
        addresses.push_back(member.address());
      }
    }
  }
  return addresses;
}

// Asks every node that is known, and those that they tell of.
Questions AskAll(Dispatcher* dispatcher, ChannelPool* channels, std::chrono::milliseconds timeout) {
  std::set<std::string> asked;
  std::vector<std::string> addresses;
  Notification done;
  dispatcher->RunOnLoop([&](ClusterView* view, Router*) {
    for (size_t i = 0; i < view->size(); ++i) {
      if (view->Asked(i) && asked.insert(view->node(i).address).second) {
        addresses.push_back(view->node(i).address);
      }
    }
    done.Notify();
  });
  done.Wait();
  Questions questions;
  for (int round = 0; round < kRoundsMax && !addresses.empty(); ++round) {
    Ask(channels, addresses, timeout, &questions);
    addresses = NotYetAsked(questions, &asked);
  }
  return questions;
}

bool AnyAnswered(const Questions& questions) {
  return std::any_of(questions.begin(), questions.end(),
                     [](const auto& question) { return question->status.ok(); });
}

absl::Status NobodyAnswered(const Questions& questions) {
  std::string tried;
  for (const auto& question : questions) {
    tried += fmt::format("{}{} ({})", tried.empty() ? "" : ", ", question->address,
                         question->status.error_message());
  }
  return MakeError(absl::StatusCode::kUnavailable, "no node answered: " + tried,
                   {.hint = "check the endpoints, and that the nodes are running"});
}

}  // namespace

absl::StatusOr<ClusterStatus> AskEveryNode(Dispatcher* dispatcher, ChannelPool* channels,
                                           std::chrono::milliseconds timeout) {
  if (dispatcher->OnLoopThread()) return NoCallInsideCallback();
  const Questions questions = AskAll(dispatcher, channels, timeout);
  if (!AnyAnswered(questions)) return NobodyAnswered(questions);
  return Assemble(questions);
}

absl::StatusOr<std::string> FindWhoKnowsTheMembers(Dispatcher* dispatcher, ChannelPool* channels,
                                                   std::chrono::milliseconds timeout) {
  const Questions questions = AskAll(dispatcher, channels, timeout);
  if (!AnyAnswered(questions)) return NobodyAnswered(questions);
  const v1::StatusResponse* best = MembersOfWhom(questions);
  for (const auto& question : questions) {
    if (&question->answer == best) return question->address;
  }
  return absl::InternalError("no answer is the best one");
}

absl::StatusOr<NodeTrace> AskTrace(Dispatcher* dispatcher, ChannelPool* channels,
                                   const std::string& address, uint64_t after_revision,
                                   std::chrono::milliseconds timeout) {
  if (dispatcher->OnLoopThread()) return NoCallInsideCallback();
  const auto stub = v1::Cluster::NewStub(channels->Get(address));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::TraceRequest request;
  request.set_after_revision(after_revision);
  v1::TraceResponse answer;
  const absl::Status status = StatusOfCall(stub->Trace(&context, request, &answer));
  if (!status.ok()) return status;
  NodeTrace trace;
  trace.node_id = answer.node_id();
  trace.entries.reserve(static_cast<size_t>(answer.entries_size()));
  for (const v1::StageTimes& times : answer.entries()) {
    trace.entries.push_back({times.index(), times.first_revision(), times.last_revision(),
                             times.bytes(), times.appended_us(), times.durable_us(),
                             times.committed_us(), times.applied_us()});
  }
  return trace;
}

}  // namespace skein::client
