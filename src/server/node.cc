#include "server/node.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "common/error.h"
#include "common/mutex.h"
#include "replication/grpc/peer_service.h"
#include "replication/grpc/peer_transport.h"
#include "server/cluster_service.h"
#include "server/event_loop.h"
#include "server/kv_service.h"
#include "server/node_view.h"
#include "server/read_gate.h"
#include "server/stage_trace.h"
#include "server/version.h"
#include "storage/data_directory.h"
#include "storage/disk_space.h"
#include "storage/kv_state_machine.h"
#include "storage/rocks_log_store.h"

namespace skein {
namespace {

Membership MembershipOf(const NodeOptions& options) {
  Membership membership;
  for (const auto& [name, address] : options.initial_cluster) {
    const bool self = name == options.name && !options.advertise.empty();
    membership.members.push_back(
        {NodeIdOf(name), name, self ? options.advertise : address, /*voter=*/true});
  }
  std::sort(membership.members.begin(), membership.members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  return membership;
}

// A cluster that is patient with its leader is so with its links.
PeerTransportOptions TransportOptionsFor(const CoreOptions& core) {
  constexpr uint64_t kTimeouts = 3;
  constexpr uint64_t kLongestMs = 600'000;
  PeerTransportOptions options;
  const uint64_t wanted_ms = kTimeouts * core.election_ticks_max * core.tick_ms;
  options.receipt_timeout_ms =
      std::max(options.receipt_timeout_ms, static_cast<int>(std::min(wanted_ms, kLongestMs)));
  return options;
}

// The members as the log has them, at the addresses that the operator gives now.
absl::Status TakeAddresses(const Membership& given, const std::string& directory,
                           Membership* recorded) {
  bool same = given.members.size() == recorded->members.size();
  for (Member& member : recorded->members) {
    const Member* now = given.Find(member.id);
    same = same && now != nullptr;
    if (now != nullptr) member.address = now->address;
  }
  if (same) return absl::OkStatus();
  std::string names;
  for (const Member& member : recorded->members) names += (names.empty() ? "" : ",") + member.name;
  return absl::FailedPreconditionError(fmt::format(
      "{} belongs to a cluster of {}; name the same nodes in --initial-cluster, or use another "
      "--data-dir",
      directory, names));
}

}  // namespace

class Node::Impl final : private Observer {
 public:
  Impl(const NodeOptions& options, Logger* logger)
      : options_(options),
        logger_(logger),
        view_(options.name, &clock_),
        trace_(&clock_),
        gate_(&clock_),
        loop_(&clock_, options.replica.core.tick_ms) {}
  ~Impl() override { Stop(); }

  absl::Status Start();
  absl::Status Wait();
  void RequestStop(absl::Status reason);
  void Stop();
  const std::string& address() const { return address_; }

 private:
  absl::Status OpenStorage(LogRecovery* recovery);
  absl::Status CheckComplete(const LogRecovery& recovery) const;
  absl::Status Listen();
  void AfterPerform(Replica& replica);
  void WatchDisk();
  std::string NameOf(NodeId id) const { return id == NodeId() ? "none" : members_.NameOf(id); }

  // Observer, on the loop's thread.
  void OnRoleChange(const RoleChange& change) override;
  void OnAppended(const std::vector<EntryPtr>& entries) override { trace_.OnAppended(entries); }
  void OnStage(Stage stage, Index index) override { trace_.OnStage(stage, index); }
  void OnNotice(const std::string& notice) override {
    logger_->Event(LogLevel::kInfo, "notice", {{"text", notice}});
  }

  // Constant after Start.
  const NodeOptions options_;
  Logger* const logger_;
  const SystemClock clock_;
  Membership members_;
  std::string address_;

  // In the order in which they are made; torn down in Stop and by the destructor in reverse.
  std::unique_ptr<DataDirectory> directory_;
  NodeView view_;
  StageTrace trace_;
  ReadGate gate_;
  std::unique_ptr<RocksLogStore> log_store_;
  std::unique_ptr<KvStateMachine> state_;
  std::unique_ptr<HelloGate> hello_gate_;
  std::unique_ptr<PeerTransport> transport_;
  std::unique_ptr<Replica> replica_;
  EventLoop loop_;
  std::unique_ptr<KvBackend> backend_;
  std::unique_ptr<KvService> kv_service_;
  std::unique_ptr<ClusterService> cluster_service_;
  std::unique_ptr<PeerService> peer_service_;
  std::unique_ptr<grpc::Server> server_;
  std::thread disk_watch_;

  Mutex mu_;
  CondVar stop_wanted_;
  bool stop_requested_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status stop_reason_ ABSL_GUARDED_BY(mu_);
  bool stopped_ = false;  // only the thread that stops
};

absl::Status Node::Impl::OpenStorage(LogRecovery* recovery) {
  std::error_code error;
  const std::filesystem::path parent =
      std::filesystem::absolute(options_.data_directory).parent_path();
  std::filesystem::create_directories(parent, error);
  auto directory =
      DataDirectory::Open(options_.data_directory, options_.cluster_token, options_.name);
  if (!directory.ok()) return directory.status();
  directory_ = std::move(*directory);
  const Membership given = MembershipOf(options_);
  auto log_store = RocksLogStore::Open(options_.storage, options_.data_directory, given);
  if (!log_store.ok()) return log_store.status();
  log_store_ = std::move(*log_store);
  auto recovered = log_store_->Recover();
  if (!recovered.ok()) return recovered.status();
  *recovery = std::move(*recovered);
  const absl::Status same =
      TakeAddresses(given, options_.data_directory, &recovery->base.membership);
  if (!same.ok()) return same;
  members_ = recovery->base.membership;
  auto state = KvStateMachine::Open(options_.storage, options_.data_directory);
  if (!state.ok()) return state.status();
  state_ = std::move(*state);
  state_->SetDamageListener([this](const absl::Status& damage) {
    logger_->Event(LogLevel::kError, "state_damaged", {{"text", MessageAndHintOf(damage)}});
  });
  if (state_->Recovered().at.index < recovery->base.point.at.index) {
    return absl::DataLossError(fmt::format(
        "{}/state ends at index {}, but the log begins only after index {}: the state was damaged "
        "or removed. Restore the directory from a copy, or give this node a new, empty one",
        options_.data_directory, state_->Recovered().at.index.value(),
        recovery->base.point.at.index.value()));
  }
  const absl::Status complete = CheckComplete(*recovery);
  if (!complete.ok()) return complete;
  logger_->Event(LogLevel::kInfo, "recovered",
                 {{"term", std::to_string(recovery->hard_state.term.value())},
                  {"first_index", std::to_string(log_store_->FirstIndex().value())},
                  {"last_index", std::to_string(recovery->last.at.index.value())},
                  {"commit_index", std::to_string(recovery->hard_state.commit.value())},
                  {"applied_index", std::to_string(state_->Recovered().at.index.value())},
                  {"applied_revision", std::to_string(state_->Recovered().revision.value())}});
  return absl::OkStatus();
}

// What the log has lost of its end comes back from the leader, if there can be another one.
absl::Status Node::Impl::CheckComplete(const LogRecovery& recovery) const {
  const Index owed = std::max(recovery.acknowledged, state_->Recovered().at.index);
  if (recovery.last.at.index >= owed) return absl::OkStatus();
  const std::string text =
      fmt::format("log {}/log is damaged: it ends at index {}, but this node has acknowledged {}",
                  options_.data_directory, recovery.last.at.index.value(), owed.value());
  if (members_.VoterCount() > 1) {
    logger_->Event(LogLevel::kWarning, "log_damaged", {{"text", text}});
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kDataLoss, text,
                   {.reason = ErrorReason::kDamagedData,
                    .hint = "No other node holds the missing entries: restore the data directory "
                            "from a copy, or begin with a new, empty one."});
}

absl::Status Node::Impl::Start() {
  LogRecovery recovery;
  absl::Status status = OpenStorage(&recovery);
  if (!status.ok()) return status;
  const Identity& identity = directory_->identity();
  const auto notice = [this](std::string text) {
    logger_->Event(LogLevel::kWarning, "peer", {{"text", std::move(text)}});
  };
  hello_gate_ = std::make_unique<HelloGate>(
      PeerIdentity{identity.cluster_id, identity.node_id, identity.node_name, identity.incarnation},
      [this](const Hello& hello) {
        return directory_->CheckPeer(hello.sender.node, hello.sender.incarnation);
      });
  transport_ = std::make_unique<PeerTransport>(hello_gate_.get(), &loop_, notice,
                                               TransportOptionsFor(options_.replica.core));
  replica_ = std::make_unique<Replica>(
      options_.replica, identity.node_id, std::move(recovery), log_store_.get(), state_.get(),
      transport_.get(), static_cast<Observer*>(this), &clock_, Random(Random::SeedFromSystem()));
  backend_ =
      std::make_unique<KvBackend>(options_.limits, state_.get(), &loop_, &gate_, &view_, &clock_);
  kv_service_ = std::make_unique<KvService>(backend_.get());
  cluster_service_ = std::make_unique<ClusterService>(
      NodeFacts{fmt::format("{:016x}", identity.cluster_id),
                fmt::format("{:016x}", identity.incarnation), clock_.MonotonicMicros()},
      &loop_, log_store_.get(), &view_, &trace_, &clock_);
  peer_service_ = std::make_unique<PeerService>(
      hello_gate_.get(), &loop_, &clock_,
      PeerService::Hooks{notice, [this](NodeId peer) { transport_->Kick(peer); }});
  status = Listen();
  if (!status.ok()) return status;
  gate_.OnApplied(state_->applied_revision());
  state_->SetAppliedListener([this](Index, Revision revision) { gate_.OnApplied(revision); });
  log_store_->Start(&loop_);
  state_->Start(&loop_);
  loop_.Start(replica_.get(), [this](Replica& replica) { AfterPerform(replica); });
  std::vector<PeerAddress> peers;
  for (const Member& member : members_.members) {
    if (member.id == identity.node_id) continue;
    peers.push_back({member.id, member.name, member.address});
    loop_.Post(LinkDown{member.id, /*refused=*/false});  // until the transport says otherwise
  }
  transport_->SetPeers(peers);
  disk_watch_ = std::thread([this] { WatchDisk(); });
  logger_->Event(LogLevel::kInfo, "started",
                 {{"version", kVersion},
                  {"listen", address_},
                  {"data_dir", options_.data_directory},
                  {"voters", std::to_string(members_.VoterCount())}});
  return absl::OkStatus();
}

absl::Status Node::Impl::Listen() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  // Two nodes on one port must not share it silently.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(kv_service_.get());
  builder.RegisterService(cluster_service_.get());
  peer_service_->Register(&builder);
  const uint64_t message_bytes_max = options_.limits.value_bytes_max + (4 << 20);
  builder.SetMaxReceiveMessageSize(static_cast<int>(
      std::max<uint64_t>(message_bytes_max, options_.replica.core.append_bytes_max + (64 << 20))));
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::InvalidArgumentError(fmt::format(
        "cannot listen on {}: the port is in use or the address is not of this machine; choose "
        "another with --listen",
        options_.listen));
  }
  server_->GetHealthCheckService()->SetServingStatus("skein.v1.Kv", true);
  address_ = options_.listen.substr(0, options_.listen.rfind(':') + 1) + std::to_string(port);
  return absl::OkStatus();
}

void Node::Impl::AfterPerform(Replica& replica) {
  const Core& core = replica.core();
  const Member* leader = core.leader() == NodeId() ? nullptr : members_.Find(core.leader());
  view_.SetLeadership({core.role(), core.term(), leader == nullptr ? "" : leader->name,
                       leader == nullptr ? "" : leader->address, core.ReachesQuorum()});
  view_.SetFreshStamp(core.fresh_stamp_us());
  if (!replica.fatal().ok()) RequestStop(replica.fatal());
}

void Node::Impl::OnRoleChange(const RoleChange& change) {
  if (change.role == Role::kLeader) cluster_service_->elections_won.fetch_add(1);
  logger_->Event(LogLevel::kInfo, "role_changed",
                 {{"role", RoleName(change.role)},
                  {"term", std::to_string(change.term.value())},
                  {"leader", NameOf(change.leader)},
                  {"reason", change.reason}});
}

void Node::Impl::WatchDisk() {
  MutexLock lock(&mu_);
  while (!stop_requested_) {
    const auto available = FreeBytes(options_.storage, options_.data_directory);
    const bool full = available.ok() && *available < options_.disk_reserve_bytes;
    if (view_.disk_reserve_reached.exchange(full) != full) {
      logger_->Event(full ? LogLevel::kWarning : LogLevel::kInfo,
                     full ? "disk_reserve_reached" : "disk_reserve_free",
                     {{"available_bytes", std::to_string(available.value_or(0))},
                      {"reserve_bytes", std::to_string(options_.disk_reserve_bytes)}});
    }
    stop_wanted_.WaitFor(&mu_, std::chrono::milliseconds(500));
  }
}

absl::Status Node::Impl::Wait() {
  MutexLock lock(&mu_);
  while (!stop_requested_) stop_wanted_.Wait(&mu_);
  return stop_reason_;
}

void Node::Impl::RequestStop(absl::Status reason) {
  MutexLock lock(&mu_);
  if (stop_requested_) return;
  stop_requested_ = true;
  stop_reason_ = std::move(reason);
  stop_wanted_.SignalAll();
}

void Node::Impl::Stop() {
  if (std::exchange(stopped_, true)) return;
  RequestStop(absl::OkStatus());
  if (disk_watch_.joinable()) disk_watch_.join();
  if (transport_ != nullptr) transport_->Stop();
  if (peer_service_ != nullptr) peer_service_->Stop();
  // Callers are answered before the server waits for their calls to end, and those that still come
  // are refused by a loop that still runs.
  loop_.PostTask([](Replica& replica) { replica.Stop(); });
  gate_.Stop();
  const bool served = server_ != nullptr;
  if (served) {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    server_->Wait();
  }
  loop_.Stop();
  server_.reset();
  peer_service_.reset();
  kv_service_.reset();
  cluster_service_.reset();
  bool healthy;
  {
    MutexLock lock(&mu_);
    healthy = stop_reason_.ok();
  }
  // So that the next start has nothing to replay. Not after a failure of the disk (R7).
  if (state_ != nullptr && healthy) {
    const absl::Status flushed = state_->Flush();
    if (!flushed.ok()) {
      logger_->Event(LogLevel::kWarning, "flush_failed", {{"text", MessageOf(flushed)}});
    }
  }
  state_.reset();
  log_store_.reset();
  if (served) logger_->Event(LogLevel::kInfo, "stopped", {});
}

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Node::~Node() = default;

absl::StatusOr<std::unique_ptr<Node>> Node::Start(const NodeOptions& options, Logger* logger) {
  absl::Status status = options.Validate();
  if (!status.ok()) return status;
  auto impl = std::make_unique<Impl>(options, logger);
  status = impl->Start();
  if (!status.ok()) return status;
  return std::unique_ptr<Node>(new Node(std::move(impl)));
}

absl::Status Node::WaitUntilStopped() { return impl_->Wait(); }
void Node::RequestStop() { impl_->RequestStop(absl::OkStatus()); }
void Node::Stop() { impl_->Stop(); }
const std::string& Node::address() const { return impl_->address(); }

}  // namespace skein
