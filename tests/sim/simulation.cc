#include "tests/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

Membership MembershipOf(const SimOptions& options) {
  Membership membership;
  for (size_t node = 0; node < options.voters + options.learners; ++node) {
    membership.members.push_back(
        {NodeId(node + 1), NodeName(node), NodeName(node), node < options.voters});
  }
  // Any node that comes before, so that there are chains.
  Random random = Random(options.seed).Fork("upstreams");
  for (size_t node = options.voters; options.upstreams && node < membership.members.size();
       ++node) {
    membership.members[node].upstream = NodeId(1 + random.Below(node));
  }
  membership.required_version = membership.RequiredVersion();
  return membership;
}

}  // namespace

Simulation::Simulation(const SimOptions& options, const RunLimits& limits, size_t trace_lines,
                       bool live)
    : options_(options),
      limits_(limits),
      trace_(&scheduler_, trace_lines, live),
      context_{&options_, &scheduler_, &trace_, &coverage_, nullptr} {
  const Random random(options.seed);
  const Membership membership = MembershipOf(options_);
  const size_t members = membership.members.size();
  const size_t count = members + options_.spares;
  // The parts refer to each other through the context, so the checker must be there first.
  std::vector<const DiskImage*> disks;
  checker_ = std::make_unique<Checker>();
  context_.checker = checker_.get();
  for (size_t node = 0; node < count; ++node) {
    nodes_.push_back(std::make_unique<SimNode>(
        context_, node, node < members ? membership : Membership(), random.Fork(NodeName(node))));
    disks.push_back(&nodes_.back()->disk());
  }
  checker_->Connect(context_, membership, std::move(disks));
  network_ = std::make_unique<SimNetwork>(context_, count, static_cast<NetworkEnds*>(this),
                                          random.Fork("network"));
  rpc_ = std::make_unique<SimRpc>(context_, options_.clients + 1, count,
                                  static_cast<RpcEnds*>(this), random.Fork("rpc"));
  for (const auto& node : nodes_) {
    const size_t number = node->number();
    node->Connect(
        network_.get(), rpc_.get(),
        {.on_candidate = [this, number](Term term) { nemesis_->OnCandidate(number, term); },
         .on_leader =
             [this, number](Term term) {
               nemesis_->OnLeader(number, term);
               operator_->OnLeader(number);
             },
         .on_first_commit = [this, number] { nemesis_->OnFirstCommit(number); },
         .on_heartbeat = [this, number] { nemesis_->OnHeartbeat(number); },
         .node = [this](NodeId id) -> SimNode& { return *nodes_[id.value() - 1]; }});
  }
  for (size_t client = 0; client <= options_.clients; ++client) {
    clients_.push_back(std::make_unique<SimClient>(
        context_, client, count, rpc_.get(), random.Fork("client " + std::to_string(client))));
  }
  operator_ = std::make_unique<SimOperator>(context_, &nodes_, random.Fork("operator"));
  nemesis_ = std::make_unique<Nemesis>(context_, &nodes_, operator_.get(), network_.get(),
                                       rpc_.get(), random.Fork("nemesis"));
  recovery_ = std::make_unique<SimRecovery>(
      context_, SimRecovery::Parts{&nodes_, &clients_, operator_.get(), network_.get()},
      random.Fork("recovery"));
}

void Simulation::OnMessage(size_t node, Message message) {
  nodes_[node]->OnReceived(std::move(message));
}

void Simulation::OnLink(size_t node, Event event) {
  if (auto* up = std::get_if<LinkUp>(&event)) {
    up->version = nodes_[up->peer.value() - 1]->protocol_version();
  }
  // Another node's process may listen where it is sought.
  if (auto* down = std::get_if<LinkDown>(&event); down != nullptr && down->refused) {
    down->refused = operator_->OtherOnHost(down->peer.value() - 1) == nullptr;
  }
  nodes_[node]->Post(std::move(event));
}

RunResult Simulation::Run() {
  Live();
  if (checker_->violation().empty()) Recover();
  if (checker_->violation().empty()) checker_->CheckHistories();
  RunResult result;
  result.violation = checker_->violation();
  result.steps = scheduler_.steps();
  result.simulated_us = scheduler_.now_us();
  result.fingerprint = trace_.fingerprint();
  result.coverage = coverage_;
  return result;
}

void Simulation::Live() {
  trace_.Say(Describe(options_));
  for (const auto& node : nodes_) {
    if (node->born()) node->Start();
  }
  for (size_t client = 0; client < options_.clients; ++client) {
    clients_[client]->Start(options_.calls_each);
  }
  nemesis_->Start();
  operator_->Start();
  recovery_->Start();
  const auto over = [this] {
    return scheduler_.steps() >= limits_.steps || scheduler_.now_us() >= limits_.until_us;
  };
  while (checker_->violation().empty() && (!over() || recovery_->UnderWay()) &&
         scheduler_.RunNext()) {
  }
  recovery_->Stop();
}

void Simulation::Recover() {
  for (const auto& client : clients_) client->Stop();
  const std::vector<size_t> healed = nemesis_->HealQuorum();
  trace_.Say(fmt::format("healed: {} nodes", healed.size()));
  SimClient& probe = *clients_.back();
  probe.Probe();
  const CoreOptions& core = options_.replica.core;
  const uint64_t election_us = core.election_ticks_max * core.tick_ms * 1000;
  // What is called late ends late, a quorum may need a node that has a snapshot to fetch, and one
  // that has much to apply may take longer, while it does.
  const uint64_t patience_us =
      20 * election_us + options_.call_deadline_us + 20 * options_.fetch_mean_us;
  uint64_t deadline_us = scheduler_.now_us() + patience_us;
  uint64_t applied = 0;
  while (checker_->violation().empty()) {
    const uint64_t before = std::exchange(applied, AppliedBy(healed));
    if (applied > before) deadline_us = scheduler_.now_us() + patience_us;
    const std::string missing = NotYet(healed);
    if (missing.empty()) return;
    if (scheduler_.now_us() > deadline_us) {
      return checker_->Violate("long after the healing of a quorum, " + missing);
    }
    for (int i = 0; i < 100 && checker_->violation().empty(); ++i) scheduler_.RunNext();
  }
}

uint64_t Simulation::AppliedBy(const std::vector<size_t>& nodes) const {
  uint64_t applied = 0;
  for (const size_t node : nodes) {
    if (IsAlive(node)) applied += nodes_[node]->replica()->core().applied().value();
  }
  return applied;
}

std::string Simulation::NotYet(const std::vector<size_t>& healed) const {
  for (const auto& client : clients_) {
    if (client != clients_.back() && client->calls_under_way() > 0) return "calls are under way";
  }
  if (!clients_.back()->ProbeDone()) {
    return "a read, a write and a read do not succeed, last error: " +
           clients_.back()->probe_error();
  }
  size_t leaders = 0;
  for (const size_t number : healed) {
    const SimNode& node = *nodes_[number];
    if (!node.alive()) return NodeName(number) + " is down";
    const Core& core = node.replica()->core();
    if (core.role() == Role::kLeader) ++leaders;
    // Its removal was on its way when it was healed.
    if (checker_->membership().membership.Find(core.self()) == nullptr) continue;
    if (core.damaged()) return NodeName(number) + " is not repaired";
    if (core.applied() != checker_->committed()) {
      return fmt::format("{} has applied index {} of {}", NodeName(number), core.applied().value(),
                         checker_->committed().value());
    }
  }
  return leaders == 1 ? "" : fmt::format("there are {} leaders", leaders);
}

}  // namespace skein::sim
