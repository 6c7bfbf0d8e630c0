#include "server/node.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/mutex.h"
#include "replication/grpc/peer_service.h"
#include "replication/grpc/peer_transport.h"
#include "server/catch_up.h"
#include "server/cluster_service.h"
#include "server/disk_room.h"
#include "server/event_loop.h"
#include "server/kv_service.h"
#include "server/membership_watch.h"
#include "server/node_storage.h"
#include "server/node_view.h"
#include "server/operator_calls.h"
#include "server/read_gate.h"
#include "server/snapshot_client.h"
#include "server/snapshot_service.h"
#include "server/stage_trace.h"
#include "server/version.h"
#include "storage/disk_space.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often the leader looks for data directories that the membership does not have.
constexpr uint64_t kRecordIntervalUs = 100'000;
constexpr uint64_t kRecordWaitUs = 10'000'000;
constexpr uint64_t kElsewhereAfterUs = 5'000'000;
// For calls that are under way when the server is shut down.
constexpr milliseconds kShutdownPatience{1000};

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

uint64_t ElectionMillis(const CoreOptions& core) { return core.election_ticks_max * core.tick_ms; }

}  // namespace

class Node::Impl final : private Observer {
 public:
  Impl(const NodeOptions& options, Logger* logger)
      : options_(options),
        logger_(logger),
        view_(options.name, &clock_),
        disk_room_(options.disk_reserve_bytes, [this] { Tell(&look_soon_); }),
        trace_(&clock_),
        gate_(&clock_),
        loop_(&clock_, options.replica.core.tick_ms),
        catch_up_(&clock_),
        operator_calls_({.node_name = options.name,
                         .leader_wait_us = 1000 * ElectionMillis(options.replica.core)},
                        &loop_, &clock_) {}
  ~Impl() override { Stop(); }

  absl::Status Start();
  absl::Status Wait();
  void RequestStop(absl::Status reason);
  void Hurry() { Tell(&hurry_); }
  void Stop();
  const std::string& address() const { return address_; }

 private:
  void MakeWireSide(PeerNotice notice);
  void MakeServices();
  absl::Status Listen();
  void AfterPerform(Replica& replica);
  void MaybeRecord(const Replica& replica);
  void KeepHouse();
  void WatchDisk();
  void TellIfElsewhere();

  // The steps of stopping.
  void HandOver();
  void Drain();
  // Sets one of the flags that are waited for.
  void Tell(bool* what);
  // Nothing is to be waited for: so it was said, or the node cannot go on.
  bool Hurries();
  // Waits until `reached` is true of the replica, for so long at most, and not in a hurry.
  void Await(milliseconds patience, std::function<bool(const Replica&)> reached);

  // Observer, on the loop's thread.
  void OnRoleChange(const RoleChange& change) override;
  void OnAppended(const std::vector<EntryPtr>& entries) override { trace_.OnAppended(entries); }
  void OnStage(Stage stage, Index index) override { trace_.OnStage(stage, index); }
  void OnMembership(const MembershipsInForce& memberships) override { watch_->Use(memberships); }
  void OnNotice(const std::string& notice) override {
    logger_->Event(LogLevel::kInfo, "notice", {{"text", notice}});
  }

  // Constant after Start.
  const NodeOptions options_;
  Logger* const logger_;
  const SystemClock clock_;
  const uint64_t started_us_ = clock_.MonotonicMicros();
  std::string address_;

  // In the order in which they are made; torn down in Stop and by the destructor in reverse.
  NodeStorage storage_;
  NodeView view_;
  DiskRoom disk_room_;
  StageTrace trace_;
  ReadGate gate_;
  std::unique_ptr<HelloGate> hello_gate_;
  std::unique_ptr<PeerTransport> transport_;
  std::unique_ptr<SnapshotClient> snapshot_client_;
  std::unique_ptr<SnapshotService> snapshot_service_;
  std::unique_ptr<Replica> replica_;
  EventLoop loop_;
  CatchUpWatch catch_up_;
  OperatorCalls operator_calls_;
  std::unique_ptr<KvBackend> backend_;
  std::unique_ptr<KvService> kv_service_;
  std::unique_ptr<ClusterService> cluster_service_;
  std::unique_ptr<PeerService> peer_service_;
  std::unique_ptr<MembershipWatch> watch_;
  std::unique_ptr<grpc::Server> server_;
  std::thread housekeeper_;

  // Owned by the housekeeper.
  bool told_elsewhere_ = false;

  // Owned by the loop's thread.
  uint64_t next_record_us_ = 0;
  bool handover_failed_ = false;
  bool replica_stopped_ = false;  // because the node stops
  std::function<bool(const Replica&)> awaited_;

  Mutex mu_;
  CondVar changed_;
  bool stop_requested_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status stop_reason_ ABSL_GUARDED_BY(mu_);
  bool hurry_ ABSL_GUARDED_BY(mu_) = false;
  bool look_soon_ ABSL_GUARDED_BY(mu_) = false;  // at the disk
  bool reached_ ABSL_GUARDED_BY(mu_) = false;    // what is awaited
  bool stopped_ = false;                         // only the thread that stops
};

void Node::Impl::MakeWireSide(PeerNotice notice) {
  const Identity& identity = storage_.directory->identity();
  hello_gate_ = std::make_unique<HelloGate>(
      PeerIdentity{.cluster_id = identity.cluster_id,
                   .node = identity.node_id,
                   .name = identity.node_name,
                   .incarnation = identity.incarnation,
                   .protocol_version = options_.replica.core.protocol_version,
                   .history = identity.history},
      options_.advertise.empty() ? options_.listen : options_.advertise,
      [this](const Hello& hello) {
        return storage_.directory->CheckPeer(hello.sender.node, hello.sender.incarnation);
      });
  transport_ = std::make_unique<PeerTransport>(hello_gate_.get(), &loop_, notice,
                                               TransportOptionsFor(options_.replica.core));
  peer_service_ = std::make_unique<PeerService>(
      hello_gate_.get(), &loop_, &clock_,
      PeerService::Hooks{notice, [this](const Hello& hello) { watch_->OnAccepted(hello); }});
  const std::map<std::string, std::string> own_addresses(options_.peer_addresses.begin(),
                                                         options_.peer_addresses.end());
  snapshot_client_ = std::make_unique<SnapshotClient>(hello_gate_.get(), storage_.state->incoming(),
                                                      &loop_, own_addresses);
  snapshot_service_ =
      std::make_unique<SnapshotService>(options_.snapshots, storage_.snapshots.get(),
                                        storage_.state.get(), hello_gate_.get(), notice);
  watch_ = std::make_unique<MembershipWatch>(
      MembershipWatch::Parts{hello_gate_.get(), transport_.get(), peer_service_.get(),
                             storage_.directory.get(), logger_},
      own_addresses, storage_.told);
}

void Node::Impl::MakeServices() {
  const Identity& identity = storage_.directory->identity();
  backend_ = std::make_unique<KvBackend>(identity, options_.limits, storage_.state.get(), &loop_,
                                         &gate_, &view_, &disk_room_, &clock_);
  kv_service_ = std::make_unique<KvService>(backend_.get());
  cluster_service_ = std::make_unique<ClusterService>(
      NodeFacts{fmt::format("{:016x}", identity.cluster_id), identity.cluster_token,
                fmt::format("{:016x}", identity.incarnation), started_us_, identity.history,
                options_.replica.core.protocol_version},
      ClusterService::Parts{.loop = &loop_,
                            .log_store = storage_.log.get(),
                            .view = &view_,
                            .trace = &trace_,
                            .watch = watch_.get(),
                            .catch_up = &catch_up_,
                            .operator_calls = &operator_calls_,
                            .clock = &clock_});
}

absl::Status Node::Impl::Start() {
  absl::StatusOr<NodeStorage> storage = OpenNodeStorage(options_, logger_);
  if (!storage.ok()) return storage.status();
  storage_ = *std::move(storage);
  MakeWireSide([this](std::string text) {
    logger_->Event(LogLevel::kWarning, "peer", {{"text", std::move(text)}});
  });
  replica_ = std::make_unique<Replica>(
      options_.replica, storage_.directory->identity().node_id, std::move(storage_.recovery),
      storage_.log.get(), storage_.state.get(), transport_.get(), snapshot_client_.get(),
      static_cast<Observer*>(this), &clock_, Random(Random::SeedFromSystem()));
  MakeServices();
  const MembershipsInForce memberships = replica_->core().memberships();
  const uint32_t required = memberships.newest.membership.RequiredVersion();
  if (options_.replica.core.protocol_version < required) {
    return absl::FailedPreconditionError(
        fmt::format("the cluster has, or had, upstreams or members that never vote, which need "
                    "protocol version "
                    "{}: start {} without --protocol-version {}",
                    required, options_.name, options_.replica.core.protocol_version));
  }
  hello_gate_->SetMemberships(memberships);
  const absl::Status listening = Listen();
  if (!listening.ok()) return listening;
  // Only now is it certain that no other process is this node.
  watch_->Use(memberships);
  gate_.OnApplied(storage_.state->applied_revision());
  storage_.state->SetAppliedListener(
      [this](Index, Revision revision) { gate_.OnApplied(revision); });
  storage_.log->Start(&loop_);
  storage_.state->Start(&loop_);
  loop_.Start(replica_.get(), [this](Replica& replica) { AfterPerform(replica); });
  housekeeper_ = std::thread([this] { KeepHouse(); });
  logger_->Event(LogLevel::kInfo, "started",
                 {{"version", kVersion},
                  {"listen", address_},
                  {"data_dir", options_.data_directory},
                  {"voters", std::to_string(memberships.newest.membership.VoterCount())}});
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
  builder.RegisterService(snapshot_service_.get());
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
  std::optional<PeerAddress> leader;
  if (core.leader() != NodeId()) leader = watch_->Find(core.leader());
  view_.SetLeadership({core.role(), core.term(), leader ? leader->name : "",
                       leader ? leader->address : "", leader ? watch_->ReachedAt(*leader) : "",
                       core.ReachesQuorum()});
  view_.SetFreshStamp(core.fresh_stamp_us());
  if (!replica.fatal().ok() && !replica_stopped_) RequestStop(replica.fatal());
  operator_calls_.AfterPerform(replica);
  catch_up_.AfterPerform(replica);
  MaybeRecord(replica);
  if (awaited_ == nullptr || !awaited_(replica)) return;
  awaited_ = nullptr;
  Tell(&reached_);
}

// R26: the cluster remembers the directory in which it saw a member first.
void Node::Impl::MaybeRecord(const Replica& replica) {
  const Core& core = replica.core();
  if (core.role() != Role::kLeader || !core.CommittedInTerm()) return;
  const uint64_t now_us = clock_.MonotonicMicros();
  if (now_us < next_record_us_) return;
  next_record_us_ = now_us + kRecordIntervalUs;
  const std::optional<RecordIncarnation> record = watch_->Unrecorded(core.membership());
  if (!record) return;
  // If it cannot be now, it will be looked for again.
  loop_.PostTask([record = *record, now_us](Replica& of) {
    of.Change(record, now_us + kRecordWaitUs, [](const absl::Status&) {});
  });
}

void Node::Impl::OnRoleChange(const RoleChange& change) {
  if (change.role == Role::kLeader) cluster_service_->elections_won.fetch_add(1);
  std::optional<PeerAddress> leader;
  if (change.leader != NodeId()) leader = watch_->Find(change.leader);
  logger_->Event(LogLevel::kInfo, "role_changed",
                 {{"role", RoleName(change.role)},
                  {"term", std::to_string(change.term.value())},
                  {"leader", leader ? leader->name : "none"},
                  {"reason", change.reason}});
}

// What may wait for the disk, and must not keep the loop waiting.
void Node::Impl::KeepHouse() {
  while (true) {
    WatchDisk();
    snapshot_service_->KeepHouse();
    TellIfElsewhere();
    const absl::Status saved = storage_.directory->SavePeers();
    if (!saved.ok()) RequestStop(saved);
    MutexLock lock(&mu_);
    if (!stop_requested_ && !look_soon_) changed_.WaitFor(&mu_, milliseconds(500));
    if (stop_requested_) return;
    look_soon_ = false;
  }
}

void Node::Impl::WatchDisk() {
  const auto available = FreeBytes(options_.storage, options_.data_directory);
  if (!available.ok() || !disk_room_.Looked(*available)) return;
  logger_->Event(disk_room_.full() ? LogLevel::kWarning : LogLevel::kInfo,
                 disk_room_.full() ? "disk_reserve_reached" : "disk_reserve_free",
                 {{"available_bytes", std::to_string(*available)},
                  {"reserve_bytes", std::to_string(options_.disk_reserve_bytes)}});
}

// Others would look for this node in vain. Not at once: it may have yet to hear that it was moved.
void Node::Impl::TellIfElsewhere() {
  if (told_elsewhere_ || clock_.MonotonicMicros() < started_us_ + kElsewhereAfterUs) return;
  const std::optional<PeerAddress> self = watch_->Find(hello_gate_->self().node);
  if (!self || IsReachedAt(options_, self->address)) return;
  told_elsewhere_ = true;
  logger_->Event(
      LogLevel::kWarning, "address_differs",
      {{"text", fmt::format("the cluster reaches {} at {}, which is not where it listens: give "
                            "--advertise, or run: skein member move {} HOST:PORT",
                            options_.name, self->address, options_.name)}});
}

absl::Status Node::Impl::Wait() {
  MutexLock lock(&mu_);
  while (!stop_requested_) changed_.Wait(&mu_);
  return stop_reason_;
}

void Node::Impl::RequestStop(absl::Status reason) {
  MutexLock lock(&mu_);
  stop_requested_ = true;
  if (stop_reason_.ok()) stop_reason_ = std::move(reason);
  changed_.SignalAll();
}

void Node::Impl::Tell(bool* what) {
  MutexLock lock(&mu_);
  *what = true;
  changed_.SignalAll();
}

bool Node::Impl::Hurries() {
  MutexLock lock(&mu_);
  return hurry_ || !stop_reason_.ok();
}

void Node::Impl::Await(milliseconds patience, std::function<bool(const Replica&)> reached) {
  const auto deadline = steady_clock::now() + patience;
  {
    MutexLock lock(&mu_);
    reached_ = false;
  }
  loop_.PostTask([this, reached = std::move(reached)](Replica&) { awaited_ = reached; });
  {
    MutexLock lock(&mu_);
    while (!reached_ && !hurry_ && stop_reason_.ok()) {
      if (!changed_.WaitUntil(&mu_, deadline)) break;
    }
  }
  loop_.PostTask([this](Replica&) { awaited_ = nullptr; });
}

// R28: another node leads before this one is gone.
void Node::Impl::HandOver() {
  if (Hurries()) return;
  loop_.PostTask([this](Replica& replica) {
    handover_failed_ = replica.core().role() != Role::kLeader;
    if (handover_failed_) return;  // there is nothing to hand over
    replica.Transfer(NodeId(), [this, &replica](const absl::Status& status) {
      handover_failed_ = !status.ok() && !replica.core().transferring();
    });
  });
  Await(milliseconds(ElectionMillis(options_.replica.core)), [this](const Replica& replica) {
    const Core& core = replica.core();
    return handover_failed_ || (core.role() != Role::kLeader && core.leader() != NodeId());
  });
}

// Who was taken in is answered, and who comes is sent elsewhere.
void Node::Impl::Drain() {
  if (Hurries()) return;
  backend_->Drain();
  kv_service_->Drain();
  Await(milliseconds(ElectionMillis(options_.replica.core)), [this](const Replica& replica) {
    return !replica.HasCallers() && !kv_service_->HasPipelines();
  });
}

void Node::Impl::Stop() {
  if (std::exchange(stopped_, true)) return;
  RequestStop(absl::OkStatus());
  if (housekeeper_.joinable()) {
    server_->GetHealthCheckService()->SetServingStatus(false);
    HandOver();
    Drain();
    housekeeper_.join();
  }
  if (transport_ != nullptr) transport_->Stop();
  if (peer_service_ != nullptr) peer_service_->Stop();
  if (snapshot_client_ != nullptr) snapshot_client_->Stop();
  if (snapshot_service_ != nullptr) snapshot_service_->Stop();
  // Callers are answered before the server waits for their calls to end, and those that still come
  // are refused by a loop that still runs.
  loop_.PostTask([this](Replica& replica) {
    replica_stopped_ = true;
    replica.Stop();
  });
  gate_.Stop();
  const bool served = server_ != nullptr;
  if (served) {
    server_->Shutdown(std::chrono::system_clock::now() + kShutdownPatience);
    server_->Wait();
  }
  loop_.Stop();
  server_.reset();
  peer_service_.reset();
  snapshot_service_.reset();
  snapshot_client_.reset();
  kv_service_.reset();
  cluster_service_.reset();
  bool healthy;
  {
    MutexLock lock(&mu_);
    healthy = stop_reason_.ok();
  }
  // So that the next start has nothing to replay. Not after a failure of the disk (R7).
  if (storage_.state != nullptr && healthy) {
    const absl::Status flushed = storage_.state->Flush();
    if (!flushed.ok()) {
      logger_->Event(LogLevel::kWarning, "flush_failed", {{"text", MessageOf(flushed)}});
    }
  }
  storage_.snapshots.reset();
  storage_.state.reset();
  storage_.log.reset();
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
void Node::Hurry() { impl_->Hurry(); }
void Node::Stop() { impl_->Stop(); }
const std::string& Node::address() const { return impl_->address(); }

}  // namespace skein
