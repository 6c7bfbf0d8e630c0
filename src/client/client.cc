#include "skein/client.h"

#include <algorithm>

#include "client/channels.h"
#include "client/cluster_calls.h"
#include "client/codec.h"
#include "client/dispatcher.h"
#include "client/operator_calls.h"
#include "common/mutex.h"

namespace skein {
namespace {

using client::CallKind;
using client::CallPlan;
using client::Dispatcher;
using client::Operation;

std::unique_ptr<Operation> NewOperation(const Dispatcher& dispatcher, CallKind kind,
                                        std::chrono::milliseconds deadline) {
  const ClientOptions& options = dispatcher.options();
  if (deadline.count() <= 0) deadline = options.deadline;
  const uint64_t now = dispatcher.NowMicros();
  auto operation = std::make_unique<Operation>();
  operation->plan = CallPlan(kind, now, now + static_cast<uint64_t>(deadline.count()) * 1000,
                             static_cast<uint64_t>(options.unreachable_patience.count()) * 1000);
  return operation;
}

uint64_t DeadlineMillis(const Dispatcher& dispatcher, std::chrono::milliseconds deadline) {
  if (deadline.count() <= 0) deadline = dispatcher.options().deadline;
  return static_cast<uint64_t>(deadline.count());
}

// The node gives up waiting before this side gives up on the node.
v1::ReadOptions Encoded(const Dispatcher& dispatcher, const ReadOptions& options) {
  const uint64_t attempt_ms =
      static_cast<uint64_t>(dispatcher.options().read_attempt_timeout.count());
  const uint64_t wait_ms =
      std::min(attempt_ms, DeadlineMillis(dispatcher, options.deadline) / 2) * 3 / 4;
  return client::EncodeReadOptions(options, dispatcher.token(), std::max<uint64_t>(wait_ms, 1));
}

// Runs an asynchronous call and waits for its answer.
template <typename Result, typename Start>
absl::StatusOr<Result> Await(const Dispatcher& dispatcher, const Start& start) {
  if (dispatcher.OnLoopThread()) {
    return absl::FailedPreconditionError("a blocking call inside a callback would never return");
  }
  absl::StatusOr<Result> result;
  Notification done;
  start([&result, &done](absl::StatusOr<Result> answer) {
    result = std::move(answer);
    done.Notify();
  });
  done.Wait();
  return result;
}

}  // namespace

std::unique_ptr<Client> Client::Connect(const std::vector<std::string>& endpoints,
                                        const ClientOptions& options) {
  return std::unique_ptr<Client>(new Client(endpoints, options));
}

Client::Client(const std::vector<std::string>& endpoints, const ClientOptions& options)
    : channels_(std::make_shared<client::ChannelPool>(options)),
      dispatcher_(std::make_unique<Dispatcher>(endpoints, options, channels_)) {}

Client::~Client() = default;

void Client::GetAsync(std::string_view key, const ReadOptions& options, Callback<GetResult> done) {
  auto operation = NewOperation(*dispatcher_, CallKind::kRead, options.deadline);
  operation->policy = options.policy.value_or(dispatcher_->options().read_policy);
  operation->key = key;
  client::EncodeGet(key, Encoded(*dispatcher_, options), &operation->body);
  operation->done = std::move(done);
  dispatcher_->Submit(std::move(operation));
}

void Client::BatchGetAsync(const std::vector<std::string>& keys, const ReadOptions& options,
                           Callback<BatchGetResult> done) {
  auto operation = NewOperation(*dispatcher_, CallKind::kRead, options.deadline);
  operation->policy = options.policy.value_or(dispatcher_->options().read_policy);
  client::EncodeBatchGet(keys, Encoded(*dispatcher_, options), &operation->body);
  operation->done = std::move(done);
  dispatcher_->Submit(std::move(operation));
}

void Client::PutAsync(std::string_view key, std::string_view value, const WriteOptions& options,
                      Callback<PutResult> done) {
  auto operation = NewOperation(*dispatcher_, CallKind::kWrite, options.deadline);
  const uint64_t deadline_ms = DeadlineMillis(*dispatcher_, options.deadline);
  client::EncodePut(key, value, client::EncodeWriteOptions(options, deadline_ms), &operation->body);
  operation->done = std::move(done);
  dispatcher_->Submit(std::move(operation));
}

void Client::DeleteAsync(std::string_view key, const WriteOptions& options,
                         Callback<DeleteResult> done) {
  auto operation = NewOperation(*dispatcher_, CallKind::kWrite, options.deadline);
  const uint64_t deadline_ms = DeadlineMillis(*dispatcher_, options.deadline);
  client::EncodeDelete(key, client::EncodeWriteOptions(options, deadline_ms), &operation->body);
  operation->done = std::move(done);
  dispatcher_->Submit(std::move(operation));
}

absl::StatusOr<GetResult> Client::Get(std::string_view key, const ReadOptions& options) {
  return Await<GetResult>(
      *dispatcher_, [&](Callback<GetResult> done) { GetAsync(key, options, std::move(done)); });
}

absl::StatusOr<BatchGetResult> Client::BatchGet(const std::vector<std::string>& keys,
                                                const ReadOptions& options) {
  return Await<BatchGetResult>(*dispatcher_, [&](Callback<BatchGetResult> done) {
    BatchGetAsync(keys, options, std::move(done));
  });
}

absl::StatusOr<PutResult> Client::Put(std::string_view key, std::string_view value,
                                      const WriteOptions& options) {
  return Await<PutResult>(*dispatcher_, [&](Callback<PutResult> done) {
    PutAsync(key, value, options, std::move(done));
  });
}

absl::StatusOr<DeleteResult> Client::Delete(std::string_view key, const WriteOptions& options) {
  return Await<DeleteResult>(*dispatcher_, [&](Callback<DeleteResult> done) {
    DeleteAsync(key, options, std::move(done));
  });
}

absl::StatusOr<ScanResult> Client::Scan(const ScanOptions& options,
                                        const std::function<bool(KeyValue)>& visit) {
  return client::Scan(dispatcher_.get(), channels_.get(), options, /*count_only=*/false, visit);
}

absl::StatusOr<ScanResult> Client::Scan(const ScanOptions& options) {
  std::vector<KeyValue> items;
  absl::StatusOr<ScanResult> result = Scan(options, [&items](KeyValue item) {
    items.push_back(std::move(item));
    return true;
  });
  if (result.ok()) result->items = std::move(items);
  return result;
}

absl::StatusOr<uint64_t> Client::Count(const ScanOptions& options) {
  absl::StatusOr<ScanResult> result = client::Scan(dispatcher_.get(), channels_.get(), options,
                                                   /*count_only=*/true, nullptr);
  if (!result.ok()) return result.status();
  return result->count;
}

absl::StatusOr<ClusterStatus> Client::Status(std::chrono::milliseconds timeout) {
  return client::AskEveryNode(dispatcher_.get(), channels_.get(), timeout);
}

absl::StatusOr<NodeTrace> Client::Trace(const std::string& address, uint64_t after_revision,
                                        std::chrono::milliseconds timeout) {
  return client::AskTrace(dispatcher_.get(), channels_.get(), address, after_revision, timeout);
}

absl::StatusOr<ClusterMembers> Client::Members(std::chrono::milliseconds deadline) {
  return client::AskMembers(dispatcher_.get(), channels_.get(), deadline);
}

absl::StatusOr<ClusterMembers> Client::AddMember(const std::string& id, const std::string& address,
                                                 const AddMemberOptions& options) {
  return client::AddMember(dispatcher_.get(), channels_.get(), id, address, options);
}

absl::StatusOr<ClusterMembers> Client::PromoteMember(const std::string& id,
                                                     std::chrono::milliseconds deadline) {
  return client::PromoteMember(dispatcher_.get(), channels_.get(), id, deadline);
}

absl::StatusOr<ClusterMembers> Client::RemoveMember(const std::string& id,
                                                    const RemoveMemberOptions& options) {
  return client::RemoveMember(dispatcher_.get(), channels_.get(), id, options);
}

absl::StatusOr<ClusterMembers> Client::SetUpstream(const std::string& id,
                                                   const std::string& upstream_id,
                                                   std::chrono::milliseconds deadline) {
  return client::SetUpstream(dispatcher_.get(), channels_.get(), id, upstream_id, deadline);
}

absl::StatusOr<ClusterMembers> Client::MoveMember(const std::string& id, const std::string& address,
                                                  std::chrono::milliseconds deadline) {
  return client::MoveMember(dispatcher_.get(), channels_.get(), id, address, deadline);
}

absl::StatusOr<LeadershipTransfer> Client::TransferLeadership(const std::string& target,
                                                              std::chrono::milliseconds deadline) {
  return client::TransferLeadership(dispatcher_.get(), channels_.get(), target, deadline);
}

uint64_t Client::token() const { return dispatcher_->token(); }

void Client::SetToken(uint64_t revision) { dispatcher_->RaiseToken(revision); }

std::string Client::leader_address() {
  if (dispatcher_->OnLoopThread()) return "";
  std::string address;
  Notification done;
  dispatcher_->RunOnLoop([&](client::ClusterView* view, client::Router*) {
    const std::optional<size_t> leader = view->Leader();
    if (leader.has_value()) address = view->node(*leader).address;
    done.Notify();
  });
  done.Wait();
  return address;
}

}  // namespace skein
