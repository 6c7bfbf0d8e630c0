// One simulated node: a disk that lasts, clocks that drift, and a process that comes and goes. The
// process is the unmodified Replica, fed as the event loop of a real node feeds it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <variant>

#include "replication/replica.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_rpc.h"
#include "tests/sim/sim_server.h"

namespace skein::sim {

// Of an address. A machine is reached by its own name and by `NAME-moved`.
std::string HostOf(const std::string& address);

class SimNode final : public EventSink,
                      private Transport,
                      private SnapshotFetcher,
                      private Observer {
 public:
  SimNode(const SimContext& context, size_t node, const Membership& membership, Random random);

  struct Hooks {
    std::function<void(Term)> on_candidate;  // it asks for votes
    std::function<void(Term)> on_leader;     // it has won an election
    std::function<void()> on_first_commit;   // since then
    std::function<void()> on_heartbeat;      // it has sent one
    std::function<SimNode&(NodeId)> node;
  };
  // Once, before Start. Both outlive the node.
  void Connect(SimNetwork* network, SimRpc* rpc, Hooks hooks);

  size_t number() const { return node_; }
  bool alive() const { return process_ != nullptr; }
  bool paused() const { return paused_; }
  // The machine that it runs on. Others may have run there before it; one at a time listens there.
  const std::string& host() const { return host_; }
  uint32_t protocol_version() const { return version_; }
  void Upgrade() { version_ = kProtocolVersion; }
  // Null: down.
  const Replica* replica() const { return process_ ? process_->replica.get() : nullptr; }
  const DiskImage& disk() const { return disk_; }
  DiskFaults& faults() { return faults_; }
  // The log has lost what the node once acknowledged, and it was not sent again yet.
  bool IsDamaged() const;

  void Start();
  // kill -9. `power`: of the whole host.
  void Crash(bool power);
  // SIGTERM: it hands over, answers whoever waits, and ends (R28).
  void Terminate();
  void Pause();
  void Resume();
  void JumpWallClock(int64_t delta_ms) { clock_.wall_offset_ms += delta_ms; }
  // While it is down: the log loses its entries from `first` on.
  void DamageLog(Index first);
  // While it is down: its data directory is replaced by an empty one, which belongs to a cluster of
  // these members, or to none. `lost`: though it is one of them, and what it acknowledged counts.
  void Wipe(const Membership& members, bool lost);
  // While it is down: it goes on alone, in a new history of the cluster (R35).
  void ForceQuorum(uint64_t history);
  // While it is down.
  void MoveTo(std::string host) { host_ = std::move(host); }
  // It has a data directory, and may be started.
  bool born() const { return !disk_.base.membership.members.empty(); }
  // Operators' calls; only while it is alive.
  void Change(const MembershipChange& change, std::function<void(absl::Status)> done);
  void Transfer(NodeId target, std::function<void(absl::Status)> done);
  // Whether it would listen to `sender` (R26, R27).
  bool Admits(const SimNode& sender);
  // Whether it looks for `other` where that one is.
  bool KnowsWhereIs(const SimNode& other) const;

  // From the network, the disk, the transport.
  void Post(Event event) override;
  void OnReceived(Message message);
  void OnRequest(Request request);

 private:
  using Item = std::variant<Event, Request>;

  struct NodeClock final : Clock {
    uint64_t MonotonicMicros() const override;
    uint64_t WallMillis() const override;
    const Scheduler* scheduler = nullptr;
    double rate = 1;
    uint64_t offset_us = 0;
    int64_t wall_offset_ms = 0;
  };

  struct Process {
    std::unique_ptr<SimLogStore> log_store;
    std::unique_ptr<SimStateMachine> state;
    std::unique_ptr<Replica> replica;
    std::unique_ptr<SimServer> server;
    std::deque<Item> mail;
    bool run_due = false;
    uint64_t ticks_due = 0;
    bool missed_ticks = false;
    bool stopping = false;  // it was told to
    struct {
      uint64_t id = 0;
      Index index;
    } fetch;             // that is under way
    size_t serving = 0;  // others that fetch from it
    MembershipsInForce memberships;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  };

  // Transport, Observer.
  void Send(Message message) override;
  void Fetch(const SnapshotFetch& fetch) override;
  void OnRoleChange(const RoleChange& change) override;
  void OnAppended(const std::vector<EntryPtr>& entries) override;
  void OnStage(Stage stage, Index index) override;
  void OnMembership(const MembershipsInForce& memberships) override;
  void OnNotice(const std::string& notice) override;

  void AwaitHandover(uint64_t deadline_us);
  void CompleteInstall();
  void FetchFrom(const SnapshotFetch& fetch);
  bool CanFetchFrom(const SimNode& source);
  void FinishFetch(const SnapshotFetch& fetch, bool served);
  void FetchFails(const SnapshotFetch& fetch, const std::string& why);
  void TellOfFetch(uint64_t id);
  void RecordIncarnations();
  void Wake();
  void Run();
  void HandleMail();
  void HandleTicks();
  void ScheduleTick();
  void ScheduleFlush();
  void End();
  void OnFatal();
  void MaybeUpgrade();
  void ForgetReturned(const LogRecovery& recovery);
  void CrashAmidInstall();
  void CheckUnderstood(const SimNode& receiver, const Message& message) const;

  const SimContext context_;
  const size_t node_;
  std::string host_;
  Random random_;
  NodeClock clock_;
  DiskImage disk_;
  DiskFaults faults_;
  SimNetwork* network_ = nullptr;
  SimRpc* rpc_ = nullptr;
  Hooks hooks_;
  std::unique_ptr<Process> process_;
  uint64_t starts_ = 0;
  uint32_t version_ = kProtocolVersion;  // that it speaks
  bool paused_ = false;
  Role role_ = Role::kFollower;
  bool has_committed_ = false;  // since it has won
};

}  // namespace skein::sim
