// Several Cores in one process, over a network and disks that do only what they are told: what the
// stories in tests/scenarios are played on. Everything that happens is told to a trace.
//
// After every action each Core's Ready is performed, and what must always hold is checked: one
// leader per term, terms and votes on disk that never go back, committed logs that agree, messages
// that state only what is on the disk.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "replication/core/core.h"

namespace skein {

class CoreCluster {
 public:
  // `voters` nodes n1, n2, ..., then the learners, then nodes that are down and no members.
  CoreCluster(const CoreOptions& options, size_t voters, size_t learners, size_t spares = 0);

  // Each returns once the Readys that follow from it are performed. Unknown names abort.
  void Tick(const std::string& node, int ticks);
  // Ticks the node alone until it campaigns; then like Stabilise.
  void Elect(const std::string& node);
  void Propose(const std::string& node, const std::string& key);
  void Read(const std::string& node, uint64_t id);
  void LinkDown(const std::string& at, const std::string& peer, bool refused);
  void LinkUp(const std::string& at, const std::string& peer);
  // The leader is asked for a change: `add n4 [ADDRESS]`, `add-voter n4` (once level), `promote
  // n4`, `remove n2`, `force-remove n2`, `move n2 ADDRESS`, `record n4` (its data directory),
  // `add-replica n4` (it never votes), `upstream n4 n2` (or `none`).
  void Change(const std::string& leader, const std::vector<std::string>& words);
  // An empty node starts, as a member of what `source` belongs to.
  void Join(const std::string& node, const std::string& source);
  // While it is down: its data directory is replaced by an empty one.
  void Wipe(const std::string& node);
  void Transfer(const std::string& leader, const std::string& target);
  // Snapshots arrive, or are installed, no more (or again); `FailFetch`: one could not be had.
  void HoldFetch(const std::string& node, bool hold);
  void HoldInstall(const std::string& node, bool hold);
  void FailFetch(const std::string& node);
  // Messages between the two are lost, until Heal.
  void Cut(const std::string& a, const std::string& b);
  void CutOneWay(const std::string& from, const std::string& to);
  void Heal();
  // Delivers, or loses, what is under way from one node to another ("*": any).
  void Deliver(const std::string& from, const std::string& to);
  void Drop(const std::string& from, const std::string& to);
  // Delivers once more what was delivered last from one node to another.
  void Replay(const std::string& from, const std::string& to);
  // Delivers what is under way in the opposite order.
  void Reverse(const std::string& from, const std::string& to);
  // Writes of this disk complete no more (or again).
  void HoldDisk(const std::string& node, bool hold);
  // The oldest `writes` of the node complete.
  void Persist(const std::string& node, int writes);
  // A state machine that applies no more (or again).
  void HoldApply(const std::string& node, bool hold);
  // The process ends; writes that did not complete are lost.
  void Crash(const std::string& node);
  void Restart(const std::string& node);
  // While it is down: from its next start on it speaks this version of the protocol.
  void Speak(const std::string& node, uint32_t version);
  // While it is down: the log forgets its entries from `first` on, though they were acknowledged.
  void LoseLog(const std::string& node, Index first);
  // The state of the node would survive a crash up to what is applied.
  void FlushState(const std::string& node);
  // Delivers and completes everything until nothing moves any more. Time stands still.
  void Stabilise();
  // All nodes tick, with everything delivered in between.
  void Run(int ticks);
  std::string Status() const;
  // How many entries each node has sent to whom since the last call.
  std::string TakeSent();

  // What happened since the last call, a line each. With messages only if `messages`.
  std::string TakeTrace();
  void set_trace_messages(bool on) { trace_messages_ = on; }
  // Empty, or what was violated first.
  const std::string& violation() const { return violation_; }

 private:
  struct Disk {
    HardState hard_state;
    std::vector<EntryPtr> entries;  // durable
    LogBase base;
    Index acknowledged;
    LogBase state;  // what is applied, and the membership as of it
    uint64_t incarnation = 1;
  };
  struct Node {
    std::string name;
    NodeId id;
    std::string address;  // where it listens; one that is up at a time
    Disk disk;
    std::unique_ptr<Core> core;  // null: down
    std::deque<LogWrite> writing;
    std::deque<std::pair<uint64_t, std::vector<Message>>> send_after;
    std::deque<EntryPtr> applying;
    bool hold_disk = false;
    bool hold_apply = false;
    bool hold_fetch = false;
    bool hold_install = false;
    std::optional<SnapshotFetch> fetching;
    std::optional<LogBase> installing;
    uint64_t persisted = 0;
    Index reported_commit;
    uint32_t version = kProtocolVersion;
  };

  Node& Find(const std::string& name);
  void Start(Node* node);
  void Link(Node* node);
  void Step(Node* node, const Event& event);
  void Perform(Node* node);
  void Trim(Node* node, Index index);
  void AnswerRead(Node* node, const LogRead& read);
  void CompleteWrite(Node* node);
  bool ApplySome(Node* node);
  bool FinishFetch(Node* node);
  bool FinishInstall(Node* node);
  void Say(const Node& node, const MembershipsInForce& memberships);
  const Node* ListensAt(const std::string& address) const;
  bool Admits(const Node& receiver, const Message& message);
  void Network(Message message);
  bool Matches(const Message& message, const std::string& from, const std::string& to) const;
  bool DeliverOne();
  void DeliverMessage(const Message& message);
  void Check();
  void CheckDurable(const Message& message);
  void CheckRelay(const Message& message);
  void Violate(const std::string& what);
  void Say(const std::string& line) { trace_ += line + "\n"; }
  std::string NameOf(NodeId id) const;
  std::string Describe(const Message& message) const;

  const CoreOptions options_;
  std::vector<Node> nodes_;
  std::deque<Message> network_;
  std::map<std::pair<NodeId, NodeId>, Message> last_delivered_;
  std::set<std::pair<NodeId, NodeId>> cut_;
  std::map<std::pair<NodeId, NodeId>, size_t> sent_;  // entries
  std::map<Term, NodeId> leaders_;
  std::map<Index, std::pair<Term, uint64_t>> committed_;  // term and chain of each
  bool trace_messages_ = false;
  std::string trace_;
  std::string violation_;
  uint64_t now_us_ = 1000;
};

}  // namespace skein
