#include "tests/integration/torture_faults.h"

#include <signal.h>

#include <algorithm>
#include <thread>

#include "common/check.h"
#include "tests/integration/torture_load.h"
#include "tests/server/raw_node.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kStormClients = 1000;
constexpr seconds kStormPatience{15};
constexpr seconds kEndTime{20};

}  // namespace

const FaultFacts& FactsOf(FaultKind kind) {
  static constexpr FaultFacts kFacts[kFaultKinds] = {
      {"kill-leader", "kill -9 of the leader, started again", false, 20, 1500},
      {"kill-follower", "kill -9 of a follower, started again", false, 20, 1500},
      {"kill-majority", "kill -9 of more than half of the nodes at once", true, 20, 1000},
      {"kill-all", "kill -9 of all nodes at once", true, 20, 500},
      {"crash-loop", "a node is killed right after each start", false, 1500, 3000},
      {"terminate", "SIGTERM, started again", false, 50, 500},
      {"node-down", "kill -9 of a node, which stays away", false, 4000, 6000},
      {"pause-leader-short", "SIGSTOP of the leader, shorter than an election", false, 50, 400},
      {"pause-leader-long", "SIGSTOP of the leader, longer than an election", false, 1500, 3000},
      {"pause-follower", "SIGSTOP of a follower", false, 100, 3000},
      {"cut", "connections of links reset, new ones refused", false, 500, 3000},
      {"black-hole", "bytes of links vanish, connections stay open", false, 500, 3000},
      {"one-way-cut", "bytes of links vanish in the direction of who dialled", false, 500, 3000},
      {"stall", "bytes of links stand still, and arrive when it is over", false, 500, 3000},
      {"delay", "links are 20 to 300 ms slower, with jitter", false, 1000, 3000},
      {"trickle", "links carry 500 to 20,000 bytes a second", false, 1000, 3000},
      {"reset", "connections of random links are reset, again and again", false, 500, 2000},
      {"garbage", "random bytes are put into links", false, 500, 2000},
      {"garble", "single bytes in links are changed", false, 500, 2000},
      {"isolate-leader", "all bytes to and from the leader vanish", false, 1000, 3000},
      {"isolate-leader-stalled", "as above, but they arrive later", false, 1000, 3000},
      {"deaf-leader", "all bytes to the leader vanish", false, 1000, 3000},
      {"mute-leader", "all bytes from the leader vanish", false, 1000, 3000},
      {"reconnect-storm", "1,000 clients connect to every node at once", false, 1000, 1500},
      {"starvation", "busy processes, four to a processor", false, 2000, 4000},
  };
  return kFacts[static_cast<int>(kind)];
}

TortureFaults::TortureFaults(ProcessCluster* cluster, TortureWatch* watch, uint64_t seed)
    : cluster_(cluster), watch_(watch), random_(seed) {}

TortureFaults::~TortureFaults() { HealAll(); }

int TortureFaults::Leader() {
  const int leader = watch_->leader();
  return leader >= 0 ? leader : static_cast<int>(random_.Below(cluster_->size()));
}

int TortureFaults::Hold(int node, Active* active) {
  if (!held_nodes_.insert(node).second) return -1;
  active->nodes.push_back(node);
  active->record.target += (active->record.target.empty() ? "" : " ") + ProcessCluster::Name(node);
  return node;
}

int TortureFaults::HoldFollower(Active* active) {
  std::vector<int> followers = cluster_->Others(Leader());
  std::erase_if(followers, [this](int node) { return held_nodes_.count(node) > 0; });
  if (followers.empty()) return -1;
  return Hold(followers[random_.Below(followers.size())], active);
}

bool TortureFaults::HoldLink(int from, int to, Active* active) {
  if (from == to || !held_links_.emplace(from, to).second) return false;
  active->links.emplace_back(from, to);
  active->record.target += (active->record.target.empty() ? "" : " ") + ProcessCluster::Name(from) +
                           ">" + ProcessCluster::Name(to);
  return true;
}

// One direction of a pair, or both, or two pairs.
bool TortureFaults::HoldLinks(Active* active) {
  const auto nodes = static_cast<uint64_t>(cluster_->size());
  const uint64_t pairs = 1 + random_.Below(2);
  const bool both = random_.Chance(0.5);
  for (uint64_t pair = 0; pair < pairs; ++pair) {
    const auto from = static_cast<int>(random_.Below(nodes));
    const auto to = static_cast<int>((from + 1 + random_.Below(nodes - 1)) % nodes);
    HoldLink(from, to, active);
    if (both) HoldLink(to, from, active);
  }
  return !active->links.empty();
}

void TortureFaults::SetLinks(const Active& active, const LinkFault& fault) {
  for (const auto& [from, to] : active.links) {
    cluster_->proxy().Set(cluster_->Link(from, to), fault);
  }
}

bool TortureFaults::Begin(FaultKind kind) {
  const FaultFacts& facts = FactsOf(kind);
  auto active = std::make_unique<Active>();
  active->record.kind = kind;
  active->record.begin_us = SteadyMicros();
  active->end =
      steady_clock::now() + milliseconds(random_.Between(facts.shortest_ms, facts.longest_ms));
  active->next_step = steady_clock::now();
  if (!HurtProcesses(kind, active.get()) && !HurtLinks(kind, active.get()) &&
      !HurtMachine(kind, active.get())) {
    return false;
  }
  active_.push_back(std::move(active));
  return true;
}

bool TortureFaults::HurtProcesses(FaultKind kind, Active* active) {
  switch (kind) {
    case FaultKind::kKillLeader:
      if (Hold(Leader(), active) < 0) return false;
      break;
    case FaultKind::kKillFollower:
    case FaultKind::kNodeDown:
    case FaultKind::kPauseFollower:
      if (HoldFollower(active) < 0) return false;
      break;
    case FaultKind::kKillMajority:
      for (int i = 0; i < cluster_->size() / 2; ++i) HoldFollower(active);
      Hold(Leader(), active);
      break;
    case FaultKind::kKillAll:
      for (const int node : cluster_->AllNodes()) Hold(node, active);
      break;
    case FaultKind::kCrashLoop:
    case FaultKind::kTerminate: {
      const bool leader = random_.Chance(0.5);
      if ((leader ? Hold(Leader(), active) : HoldFollower(active)) < 0) return false;
      break;
    }
    case FaultKind::kPauseLeaderShort:
    case FaultKind::kPauseLeaderLong:
      if (Hold(Leader(), active) < 0) return false;
      break;
    default:
      return false;
  }
  if (active->nodes.empty()) return false;
  if (kind == FaultKind::kPauseFollower || kind == FaultKind::kPauseLeaderShort ||
      kind == FaultKind::kPauseLeaderLong) {
    Pause(active);
  } else if (kind == FaultKind::kCrashLoop) {
    CrashLoop(active);
  } else if (kind == FaultKind::kTerminate) {
    Terminate(active);
  } else {
    KillNodes(active);
  }
  return true;
}

void TortureFaults::KillNodes(Active* active) {
  for (const int node : active->nodes) cluster_->process(node).Signal(SIGKILL);
  for (const int node : active->nodes) cluster_->Kill(node);
  active->finish = [this, active] {
    for (const int node : active->nodes) StartIfDown(node);
  };
}

void TortureFaults::CrashLoop(Active* active) {
  const int node = active->nodes.front();
  active->step_interval = milliseconds(random_.Between(20, 400));
  active->step = [this, node] {
    if (cluster_->process(node).running()) {
      cluster_->Kill(node);
    } else {
      cluster_->Start(node);
    }
  };
  active->finish = [this, node] { StartIfDown(node); };
}

void TortureFaults::Terminate(Active* active) {
  const int node = active->nodes.front();
  const auto code = cluster_->Terminate(node, kEndTime);
  if (code != 0) {
    trouble_.push_back(ProcessCluster::Name(node) +
                       (code ? " ended with " + std::to_string(*code) + " on SIGTERM"
                             : " did not end on SIGTERM"));
    cluster_->Kill(node);
  }
  active->end = std::max(active->end, steady_clock::now());
  active->finish = [this, node] { StartIfDown(node); };
}

void TortureFaults::Pause(Active* active) {
  const int node = active->nodes.front();
  cluster_->Pause(node);
  active->finish = [this, node] { cluster_->Resume(node); };
}

bool TortureFaults::HurtLinks(FaultKind kind, Active* active) {
  LinkFault fault;
  switch (kind) {
    case FaultKind::kCut:
      fault.refuse = true;
      break;
    case FaultKind::kBlackHole:
      fault.forward.drop = fault.backward.drop = true;
      break;
    case FaultKind::kOneWayCut:
      fault.forward.drop = true;
      break;
    case FaultKind::kStall:
      fault.forward.stall = fault.backward.stall = true;
      break;
    case FaultKind::kDelay:
      fault.forward.delay = fault.backward.delay = milliseconds(random_.Between(20, 300));
      fault.forward.jitter = fault.backward.jitter = fault.forward.delay;
      break;
    case FaultKind::kTrickle:
      fault.forward.bytes_per_second = fault.backward.bytes_per_second =
          random_.Between(500, 20'000);
      break;
    case FaultKind::kReset:
    case FaultKind::kGarbage:
    case FaultKind::kGarble:
      RandomBytes(kind, active);
      return true;
    case FaultKind::kIsolateLeader:
    case FaultKind::kIsolateLeaderStalled:
    case FaultKind::kDeafLeader:
    case FaultKind::kMuteLeader:
      return Isolate(kind, active);
    default:
      return false;
  }
  if (!HoldLinks(active)) return false;
  SetLinks(*active, fault);
  return true;
}

bool TortureFaults::Isolate(FaultKind kind, Active* active) {
  const int leader = Leader();
  const bool deaf = kind != FaultKind::kMuteLeader;
  const bool mute = kind != FaultKind::kDeafLeader;
  for (const int other : cluster_->Others(leader)) {
    // Of both links of the pair one direction each: what the other side dialled, and what it did.
    if (!HoldLink(leader, other, active) || !HoldLink(other, leader, active)) continue;
    LinkFault from_leader;
    LinkFault to_leader;
    const bool late = kind == FaultKind::kIsolateLeaderStalled;
    FlowFault lost = {.drop = !late, .stall = late};
    if (mute) from_leader.forward = to_leader.backward = lost;
    if (deaf) from_leader.backward = to_leader.forward = lost;
    cluster_->proxy().Set(cluster_->Link(leader, other), from_leader);
    cluster_->proxy().Set(cluster_->Link(other, leader), to_leader);
  }
  if (!active->links.empty()) active->record.target = ProcessCluster::Name(leader);
  return !active->links.empty();
}

// At any link, whether something else is wrong with it or not.
void TortureFaults::RandomBytes(FaultKind kind, Active* active) {
  active->record.target = "random links";
  active->step_interval = milliseconds(random_.Between(20, 200));
  active->step = [this, kind] {
    const auto nodes = static_cast<uint64_t>(cluster_->size());
    const auto from = static_cast<int>(random_.Below(nodes));
    const auto to = static_cast<int>((from + 1 + random_.Below(nodes - 1)) % nodes);
    const int link = cluster_->Link(from, to);
    const Flow flow = random_.Chance(0.8) ? Flow::kForward : Flow::kBackward;
    if (kind == FaultKind::kReset) cluster_->proxy().Reset(link);
    if (kind == FaultKind::kGarble) cluster_->proxy().Garble(link, flow);
    if (kind == FaultKind::kGarbage) {
      cluster_->proxy().InjectGarbage(link, flow, static_cast<int>(random_.Between(1, 300)));
    }
  };
}

bool TortureFaults::HurtMachine(FaultKind kind, Active* active) {
  if (kind == FaultKind::kReconnectStorm) {
    active->record.target = "all";
    auto storm = std::make_shared<std::thread>([addresses = cluster_->Addresses()] {
      ReconnectStorm(addresses, kStormClients, kStormPatience);
    });
    active->finish = [storm] { storm->join(); };
    return true;
  }
  if (kind != FaultKind::kStarvation) return false;
  active->record.target = "all";
  auto busy = std::make_shared<std::vector<std::unique_ptr<Process>>>();
  for (unsigned i = 0; i < 4 * std::max(1U, std::thread::hardware_concurrency()); ++i) {
    busy->push_back(std::make_unique<Process>(
        std::vector<std::string>{"/bin/sh", "-c", "while :; do :; done"}, "/dev/null"));
  }
  active->finish = [busy] { busy->clear(); };
  return true;
}

void TortureFaults::StartIfDown(int node) {
  if (!cluster_->process(node).running()) cluster_->Start(node);
}

void TortureFaults::Finish(Active* active) {
  if (active->finish) active->finish();
  SetLinks(*active, {});
  for (const int node : active->nodes) held_nodes_.erase(node);
  for (const auto& link : active->links) held_links_.erase(link);
  active->record.end_us = SteadyMicros();
  over_.push_back(std::move(active->record));
}

void TortureFaults::LookForCrashes() {
  for (const int node : cluster_->AllNodes()) {
    if (held_nodes_.count(node) > 0 || cluster_->process(node).running()) continue;
    if (reported_.insert(node).second) {
      trouble_.push_back(ProcessCluster::Name(node) + " ended by itself");
    }
  }
}

void TortureFaults::Step() {
  const Instant now = steady_clock::now();
  for (auto& active : active_) {
    if (now >= active->end) {
      Finish(active.get());
      active.reset();
    } else if (active->step && now >= active->next_step) {
      active->next_step = now + active->step_interval;
      active->step();
    }
  }
  std::erase(active_, nullptr);
  LookForCrashes();
}

void TortureFaults::HealAll() {
  for (auto& active : active_) Finish(active.get());
  active_.clear();
}

int ReconnectStorm(const std::vector<std::string>& addresses, int clients, milliseconds patience) {
  struct Visitor {
    std::unique_ptr<RawNode> node;
    grpc::ClientContext context;
    v1::GetRequest request = GetOf("storm", v1::ANY);
    v1::GetResponse response;
  };
  std::vector<std::unique_ptr<Visitor>> visitors;
  Mutex mu;
  CondVar changed;
  int over = 0;
  int answered = 0;
  for (int i = 0; i < clients; ++i) {
    for (const std::string& address : addresses) {
      visitors.push_back(std::make_unique<Visitor>());
      Visitor& visitor = *visitors.back();
      visitor.node = std::make_unique<RawNode>(address);
      RawNode::Prepare(&visitor.context, patience);
      visitor.node->kv().async()->Get(&visitor.context, &visitor.request, &visitor.response,
                                      [&](const grpc::Status& status) {
                                        MutexLock lock(&mu);
                                        ++over;
                                        changed.Signal();
                                        if (status.ok()) ++answered;
                                      });
    }
  }
  MutexLock lock(&mu);
  while (over < static_cast<int>(visitors.size())) changed.Wait(&mu);
  return answered;
}

}  // namespace skein
