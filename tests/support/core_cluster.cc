#include "tests/support/core_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace skein {
namespace {

std::string Show(Position at) { return fmt::format("{}/{}", at.term.value(), at.index.value()); }

std::string Show(const std::vector<EntryPtr>& entries) {
  if (entries.empty()) return "-";
  return fmt::format("{}..{}", Show(entries.front()->position()), Show(entries.back()->position()));
}

}  // namespace

CoreCluster::CoreCluster(const CoreOptions& options, size_t voters, size_t learners, size_t spares)
    : options_(options), nodes_(voters + learners + spares) {
  Membership membership;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i].name = "n" + std::to_string(i + 1);
    nodes_[i].id = NodeId(i + 1);
    nodes_[i].address = nodes_[i].name;
    if (i >= voters + learners) continue;
    membership.members.push_back({nodes_[i].id, nodes_[i].name, nodes_[i].name, i < voters});
  }
  for (size_t i = 0; i < voters + learners; ++i) {
    nodes_[i].disk.base.membership = membership;
    nodes_[i].disk.state.membership = membership;
    Start(&nodes_[i]);
  }
  for (Node& node : nodes_) Link(&node);
}

// Both ways with whoever is up.
void CoreCluster::Link(Node* node) {
  for (Node& other : nodes_) {
    if (other.id == node->id) continue;
    if (other.core != nullptr) Step(node, skein::LinkUp{other.id, other.version});
    if (node->core != nullptr) Step(&other, skein::LinkUp{node->id, node->version});
  }
}

CoreCluster::Node& CoreCluster::Find(const std::string& name) {
  for (Node& node : nodes_) {
    if (node.name == name) return node;
  }
  violation_ = "the story names an unknown node: " + name;
  return nodes_.front();
}

std::string CoreCluster::NameOf(NodeId id) const {
  return id == NodeId() ? "nobody" : "n" + std::to_string(id.value());
}

void CoreCluster::Start(Node* node) {
  const Disk& disk = node->disk;
  LogRecovery recovery;
  recovery.base = disk.base;
  recovery.hard_state = disk.hard_state;
  recovery.last = disk.entries.empty() ? disk.base.point : disk.entries.back()->point();
  recovery.acknowledged = disk.acknowledged;
  recovery.tail_base = disk.base.point;
  for (const EntryPtr& entry : disk.entries) {
    if (entry->type() == EntryType::kMembership) {
      recovery.memberships.push_back({entry->index(), {}});
      SKEIN_CHECK(DecodeMembership(entry->payload(), &recovery.memberships.back().membership));
    }
    if (entry->index() <= disk.hard_state.commit) {
      recovery.tail_base = entry->point();
    } else {
      recovery.tail.push_back(entry);
    }
  }
  node->writing.clear();
  node->send_after.clear();
  node->applying.clear();
  node->fetching.reset();
  node->installing.reset();
  node->persisted = 0;
  CoreOptions options = options_;
  options.protocol_version = node->version;
  node->core = std::make_unique<Core>(options, node->id, std::move(recovery), disk.state.point,
                                      Random(node->id.value()));
  node->reported_commit = node->core->commit();
}

void CoreCluster::Step(Node* node, const Event& event) {
  if (node->core == nullptr || !violation_.empty()) return;
  node->core->Step(event);
  Perform(node);
}

void CoreCluster::Perform(Node* node) {
  for (;;) {
    Ready ready = node->core->TakeReady();
    if (ready.empty()) break;
    if (!ready.fatal.ok()) {
      Say(node->name + " STOPS: " + std::string(ready.fatal.message()));
      node->core.reset();
      return;
    }
    if (ready.persist) {
      const LogWrite& write = *ready.persist;
      Say(fmt::format("{} writes #{} term {} vote {}{} entries {}", node->name, write.id,
                      write.hard_state->term.value(), NameOf(write.hard_state->vote),
                      write.reset ? fmt::format(" reset to {}", Show(write.reset->point.at))
                      : write.truncate_from
                          ? fmt::format(" truncate from {}", write.truncate_from->value())
                          : "",
                      Show(write.entries)));
      node->writing.push_back(write);
    }
    for (Message& message : ready.send_now) Network(std::move(message));
    if (!ready.send_after.empty()) {
      if (ready.send_after_id <= node->persisted) {
        for (Message& message : ready.send_after) Network(std::move(message));
      } else {
        node->send_after.emplace_back(ready.send_after_id, std::move(ready.send_after));
      }
    }
    for (EntryPtr& entry : ready.apply) node->applying.push_back(std::move(entry));
    if (ready.install) node->installing = ready.install;
    if (ready.fetch) node->fetching = ready.fetch;
    for (const ReadGrant& grant : ready.reads) {
      Say(grant.granted ? fmt::format("{} read {} granted at index {}", node->name, grant.id,
                                      grant.index.value())
                        : fmt::format("{} read {} refused", node->name, grant.id));
    }
    if (ready.role) {
      Say(fmt::format("{} is {} in term {}, leader {}: {}", node->name, RoleName(ready.role->role),
                      ready.role->term.value(), NameOf(ready.role->leader), ready.role->reason));
    }
    if (ready.membership) Say(*node, *ready.membership);
    if (ready.transfer_over) {
      Say(node->name + " has ended the handover: " +
          (ready.transfer_over->ok() ? "done" : std::string(ready.transfer_over->message())));
    }
    if (ready.trim) {
      Say(fmt::format("{} trims up to {}", node->name, ready.trim->value()));
      Trim(node, *ready.trim);
    }
    for (const std::string& notice : ready.notices) Say(node->name + " notes: " + notice);
    for (const LogRead& read : ready.log_reads) AnswerRead(node, read);
    if (node->core == nullptr) return;
  }
  if (node->core->commit() > node->reported_commit) {
    node->reported_commit = node->core->commit();
    Say(fmt::format("{} commits up to {}", node->name, node->core->commit().value()));
  }
  Check();
}

void CoreCluster::Trim(Node* node, Index index) {
  Disk& disk = node->disk;
  while (!disk.entries.empty() && disk.entries.front()->index() <= index) {
    disk.base.point = disk.entries.front()->point();
    disk.entries.erase(disk.entries.begin());
  }
  if (disk.base.point.at.index != index) Violate(node->name + " trims what is not on its disk");
}

void CoreCluster::AnswerRead(Node* node, const LogRead& read) {
  if (read.first <= node->disk.base.point.at.index) {
    Violate(node->name + " reads what it has trimmed");
    return;
  }
  std::vector<EntryPtr> all = node->disk.entries;
  for (const LogWrite& write : node->writing) {
    if (write.reset) all.clear();
    if (write.truncate_from) {
      std::erase_if(all, [&](const EntryPtr& e) { return e->index() >= *write.truncate_from; });
    }
    all.insert(all.end(), write.entries.begin(), write.entries.end());
  }
  LogReadDone done{read.id, {}};
  uint64_t bytes = 0;
  for (const EntryPtr& entry : all) {
    if (entry->index() < read.first) continue;
    bytes += entry->bytes();
    if (done.entries.size() >= 2 && bytes > read.bytes_max) break;
    done.entries.push_back(entry);
  }
  Say(fmt::format("{} reads its log from {}: {}", node->name, read.first.value(),
                  Show(done.entries)));
  node->core->Step(done);
}

void CoreCluster::CompleteWrite(Node* node) {
  const LogWrite write = node->writing.front();
  node->writing.pop_front();
  Disk& disk = node->disk;
  if (write.hard_state) {
    const HardState& next = *write.hard_state;
    const bool voted = disk.hard_state.vote != NodeId() && disk.hard_state.vote != next.vote;
    if (next.term < disk.hard_state.term || (next.term == disk.hard_state.term && voted)) {
      Violate(node->name + " took back a term or a vote");
    }
    disk.hard_state = next;
  }
  if (write.reset) {
    disk.entries.clear();
    disk.base = *write.reset;
  }
  if (write.truncate_from) {
    std::erase_if(disk.entries,
                  [&](const EntryPtr& e) { return e->index() >= *write.truncate_from; });
  }
  disk.entries.insert(disk.entries.end(), write.entries.begin(), write.entries.end());
  disk.acknowledged =
      disk.entries.empty() ? disk.base.point.at.index : disk.entries.back()->index();
  node->persisted = write.id;
  while (!node->send_after.empty() && node->send_after.front().first <= write.id) {
    for (Message& message : node->send_after.front().second) Network(std::move(message));
    node->send_after.pop_front();
  }
  Step(node, Persisted{write.id});
}

bool CoreCluster::ApplySome(Node* node) {
  if (node->core == nullptr || node->hold_apply || node->applying.empty()) return false;
  const LogPoint last = node->applying.back()->point();
  for (const EntryPtr& entry : std::exchange(node->applying, {})) {
    if (entry->type() != EntryType::kMembership) continue;
    SKEIN_CHECK(DecodeMembership(entry->payload(), &node->disk.state.membership));
  }
  node->disk.state.point = last;
  Step(node, Applied{last.at.index, last.revision, {}});
  return true;
}

void CoreCluster::Network(Message message) {
  if (trace_messages_) Say(Describe(message));
  CheckDurable(message);
  CheckRelay(message);
  network_.push_back(std::move(message));
}

// R1, R2: what a message states is on its sender's disk.
void CoreCluster::CheckDurable(const Message& message) {
  const Node& sender = nodes_[message.from.value() - 1];
  const HardState& on_disk = sender.disk.hard_state;
  const auto* vote = std::get_if<VoteMessage>(&message.body);
  const auto* vote_ack = std::get_if<VoteAck>(&message.body);
  const bool pre = (vote != nullptr && vote->pre) || (vote_ack != nullptr && vote_ack->pre);
  if (!pre && message.term > on_disk.term) {
    Violate(sender.name + " used a term that is not on its disk");
  }
  if (vote_ack != nullptr && !pre && vote_ack->granted && on_disk.vote != message.to) {
    Violate(sender.name + " gave a vote that is not on its disk");
  }
  const auto* ack = std::get_if<AppendAck>(&message.body);
  if (ack == nullptr || ack->rejected) return;
  const Index last = sender.disk.entries.empty() ? sender.disk.base.point.at.index
                                                 : sender.disk.entries.back()->index();
  if (ack->match > std::max(last, sender.disk.state.point.at.index))
    Violate(sender.name + " acknowledged what is not on its disk");
}

// R36, R27: what is relayed is committed, and goes to nobody who would not understand it.
void CoreCluster::CheckRelay(const Message& message) {
  const auto* append = std::get_if<AppendMessage>(&message.body);
  const auto* heartbeat = std::get_if<HeartbeatMessage>(&message.body);
  if (append != nullptr) sent_[{message.from, message.to}] += append->entries.size();
  const bool relayed = append != nullptr && append->relayed;
  const bool feeds = heartbeat != nullptr && !heartbeat->feeds.empty();
  const Node& receiver = nodes_[message.to.value() - 1];
  if ((relayed || feeds) && receiver.version < kUpstreamsVersion) {
    Violate(receiver.name + " is sent what it does not understand");
  }
  if (!relayed) return;
  for (const EntryPtr& entry : append->entries) {
    const auto committed = committed_.find(entry->index());
    // What left memory as soon as it was committed is not known here; another node knows it is.
    const bool good = committed != committed_.end()
                          ? committed->second == std::pair(entry->term(), entry->chain())
                          : std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
                              return node.id != message.from && node.core != nullptr &&
                                     node.core->commit() >= entry->index();
                            });
    if (!good) Violate(NameOf(message.from) + " relays what is not committed");
  }
}

void CoreCluster::Violate(const std::string& what) {
  if (violation_.empty()) violation_ = what;
}

bool CoreCluster::Matches(const Message& message, const std::string& from,
                          const std::string& to) const {
  return (from == "*" || NameOf(message.from) == from) && (to == "*" || NameOf(message.to) == to);
}

void CoreCluster::DeliverMessage(const Message& message) {
  if (cut_.count({message.from, message.to}) > 0) return;
  if (!Admits(nodes_[message.to.value() - 1], message)) return;
  last_delivered_[{message.from, message.to}] = message;
  now_us_ += 10;
  Step(&nodes_[message.to.value() - 1], Received{message, now_us_});
}

bool CoreCluster::DeliverOne() {
  if (network_.empty()) return false;
  const Message message = std::move(network_.front());
  network_.pop_front();
  DeliverMessage(message);
  return true;
}

void CoreCluster::Deliver(const std::string& from, const std::string& to) {
  std::vector<Message> chosen;
  std::erase_if(network_, [&](Message& message) {
    if (!Matches(message, from, to)) return false;
    chosen.push_back(std::move(message));
    return true;
  });
  for (const Message& message : chosen) DeliverMessage(message);
}

void CoreCluster::Drop(const std::string& from, const std::string& to) {
  const size_t lost =
      std::erase_if(network_, [&](const Message& message) { return Matches(message, from, to); });
  Say(fmt::format("lost {} message{}", lost, lost == 1 ? "" : "s"));
}

void CoreCluster::Replay(const std::string& from, const std::string& to) {
  const auto it = last_delivered_.find({Find(from).id, Find(to).id});
  if (it == last_delivered_.end()) return;
  const Message message = it->second;
  Say("again " + Describe(message));
  DeliverMessage(message);
}

void CoreCluster::Reverse(const std::string& from, const std::string& to) {
  std::vector<Message> chosen;
  std::erase_if(network_, [&](Message& message) {
    if (!Matches(message, from, to)) return false;
    chosen.push_back(std::move(message));
    return true;
  });
  std::reverse(chosen.begin(), chosen.end());
  for (const Message& message : chosen) DeliverMessage(message);
}

void CoreCluster::Tick(const std::string& name, int ticks) {
  Node& node = Find(name);
  for (int i = 0; i < ticks; ++i) Step(&node, skein::Tick{});
}

void CoreCluster::Elect(const std::string& name) {
  Node& node = Find(name);
  for (uint64_t i = 0; i < 4 * options_.election_ticks_max && node.core != nullptr; ++i) {
    if (node.core->role() != Role::kFollower) break;
    Step(&node, skein::Tick{});
  }
  Stabilise();
}

void CoreCluster::Propose(const std::string& name, const std::string& key) {
  Node& node = Find(name);
  if (node.core == nullptr) return;
  const ProposeResult result = node.core->Propose(1, now_us_ / 1000, key);
  switch (result.status) {
    case ProposeStatus::kAppended:
      Say(fmt::format("{} appends {} at {}, revision {}", name, key, Show(result.entry->position()),
                      result.entry->last_revision().value()));
      break;
    case ProposeStatus::kNotLeader:
      Say(name + " refuses " + key + ": not the leader");
      break;
    case ProposeStatus::kQueueFull:
      Say(name + " refuses " + key + ": too much is uncommitted");
      break;
    case ProposeStatus::kTransferring:
      Say(name + " refuses " + key + ": leadership is being handed over");
      break;
  }
  Perform(&node);
}

void CoreCluster::Read(const std::string& name, uint64_t id) {
  Node& node = Find(name);
  if (node.core == nullptr) return;
  node.core->ReadIndex(id);
  Perform(&node);
}

void CoreCluster::LinkDown(const std::string& at, const std::string& peer, bool refused) {
  Step(&Find(at), skein::LinkDown{Find(peer).id, refused});
}

void CoreCluster::LinkUp(const std::string& at, const std::string& peer) {
  Step(&Find(at), skein::LinkUp{Find(peer).id, Find(peer).version});
}

void CoreCluster::Cut(const std::string& a, const std::string& b) {
  CutOneWay(a, b);
  CutOneWay(b, a);
}

void CoreCluster::CutOneWay(const std::string& from, const std::string& to) {
  for (const Node& a : nodes_) {
    for (const Node& b : nodes_) {
      const bool matches = (from == "*" || a.name == from) && (to == "*" || b.name == to);
      if (matches && a.id != b.id) cut_.insert({a.id, b.id});
    }
  }
}

void CoreCluster::Heal() { cut_.clear(); }

void CoreCluster::HoldDisk(const std::string& name, bool hold) { Find(name).hold_disk = hold; }
void CoreCluster::HoldApply(const std::string& name, bool hold) { Find(name).hold_apply = hold; }

void CoreCluster::Persist(const std::string& name, int writes) {
  Node& node = Find(name);
  for (int i = 0; i < writes && !node.writing.empty(); ++i) CompleteWrite(&node);
}

void CoreCluster::Crash(const std::string& name) {
  Node& node = Find(name);
  Say(fmt::format("{} crashes, {} unfinished write{} lost", name, node.writing.size(),
                  node.writing.size() == 1 ? "" : "s"));
  node.core.reset();
  node.writing.clear();
  node.send_after.clear();
  node.applying.clear();
  node.fetching.reset();
  node.installing.reset();
  std::erase_if(network_, [&](const Message& m) { return m.from == node.id || m.to == node.id; });
}

void CoreCluster::Restart(const std::string& name) {
  Node& node = Find(name);
  Start(&node);
  Perform(&node);
  Link(&node);
}

void CoreCluster::Speak(const std::string& name, uint32_t version) {
  Node& node = Find(name);
  if (node.core != nullptr) return Violate(name + " is up");
  node.version = version;
}

void CoreCluster::LoseLog(const std::string& name, Index first) {
  Node& node = Find(name);
  const size_t lost = std::erase_if(node.disk.entries,
                                    [&](const EntryPtr& entry) { return entry->index() >= first; });
  Say(fmt::format("the log of {} loses {} entries", name, lost));
}

void CoreCluster::FlushState(const std::string& name) {
  Node& node = Find(name);
  Step(&node, StateDurable{node.disk.state.point.at.index});
}

void CoreCluster::Stabilise() {
  bool moved = true;
  for (int rounds = 0; moved && rounds < 10000 && violation_.empty(); ++rounds) {
    moved = false;
    while (DeliverOne()) moved = true;
    for (Node& node : nodes_) {
      if (!node.hold_disk && !node.writing.empty()) {
        CompleteWrite(&node);
        moved = true;
      }
      moved = ApplySome(&node) || moved;
      moved = FinishFetch(&node) || moved;
      moved = FinishInstall(&node) || moved;
    }
  }
}

void CoreCluster::Run(int ticks) {
  for (int i = 0; i < ticks; ++i) {
    for (Node& node : nodes_) Step(&node, skein::Tick{});
    Stabilise();
  }
}

std::string CoreCluster::Status() const {
  std::string out;
  for (const Node& node : nodes_) {
    if (node.core == nullptr) {
      out += node.name + " down\n";
      continue;
    }
    const Core& core = *node.core;
    out += fmt::format("{} {} term {} leader {} last {} durable {} commit {} applied {}{}\n",
                       node.name, RoleName(core.role()), core.term().value(), NameOf(core.leader()),
                       Show(core.log().last().at), core.durable().value(), core.commit().value(),
                       core.applied().value(), core.damaged() ? " damaged" : "");
  }
  return out;
}

std::string CoreCluster::TakeSent() {
  std::string out;
  for (const auto& [ends, entries] : std::exchange(sent_, {})) {
    if (entries == 0) continue;
    out += fmt::format("{} has sent {} {} entr{}\n", NameOf(ends.first), NameOf(ends.second),
                       entries, entries == 1 ? "y" : "ies");
  }
  return out;
}

std::string CoreCluster::TakeTrace() { return std::exchange(trace_, {}); }

// What must hold after every event, whatever happened.
void CoreCluster::Check() {
  for (const Node& node : nodes_) {
    if (node.core == nullptr) continue;
    const Core& core = *node.core;
    core.CheckInvariants();
    if (core.role() == Role::kLeader) {
      const auto [it, fresh] = leaders_.emplace(core.term(), node.id);
      if (!fresh && it->second != node.id) Violate("two leaders in one term");
    }
    for (Index i = core.log().base().at.index.Next(); i <= core.commit(); i = i.Next()) {
      const EntryPtr& entry = core.log().At(i);
      const auto [it, fresh] = committed_.emplace(i, std::pair(entry->term(), entry->chain()));
      if (!fresh && it->second != std::pair(entry->term(), entry->chain())) {
        Violate(fmt::format("{} committed another entry at index {}", node.name, i.value()));
      }
    }
  }
}

}  // namespace skein
