// Of CoreCluster: changes of the membership, snapshots, and what messages look like in a story.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "tests/support/core_cluster.h"

namespace skein {
namespace {

// Which of the questions of one process it is; what comes before differs from process to process.
uint64_t NumberOf(uint64_t read_index) { return read_index & 0xffff; }

std::string Show(Position at) { return fmt::format("{}/{}", at.term.value(), at.index.value()); }

std::string Show(const std::vector<EntryPtr>& entries) {
  if (entries.empty()) return "-";
  return fmt::format("{}..{}", Show(entries.front()->position()), Show(entries.back()->position()));
}

}  // namespace

void CoreCluster::Say(const Node& node, const MembershipsInForce& memberships) {
  const MembershipAt& newest = memberships.newest;
  std::string text;
  for (const Member& member : newest.membership.members) {
    text += (text.empty() ? "" : " ") + member.name + (member.voter ? "" : "?");
    if (member.never_votes) text += "!";
    if (member.upstream != NodeId()) text += "<" + NameOf(member.upstream);
  }
  const bool committed = memberships.committed.index == newest.index;
  Say(fmt::format("{} goes by the membership of index {}: {}{}", node.name, newest.index.value(),
                  text, committed ? ", committed" : ""));
}

void CoreCluster::Change(const std::string& leader, const std::vector<std::string>& words) {
  Node& node = Find(leader);
  if (node.core == nullptr || words.size() < 2) return Violate("a change cannot be asked for");
  const Node& target = Find(words[1]);
  MembershipChange change;
  if (words[0] == "add" || words[0] == "add-voter") {
    const std::string& address = words.size() > 2 ? words[2] : target.name;
    change = AddLearner{target.id, target.name, address, words[0] == "add-voter"};
  } else if (words[0] == "add-replica") {
    AddLearner add{target.id, target.name, target.name};
    add.never_votes = true;
    change = add;
  } else if (words[0] == "upstream" && words.size() == 3) {
    change = SetUpstream{target.id, words[2] == "none" ? NodeId() : Find(words[2]).id};
  } else if (words[0] == "promote") {
    change = PromoteMember{target.id};
  } else if (words[0] == "remove" || words[0] == "force-remove") {
    change = RemoveMember{target.id, words[0] == "force-remove"};
  } else if (words[0] == "move" && words.size() == 3) {
    change = MoveMember{target.id, words[2]};
  } else if (words[0] == "record") {
    change = RecordIncarnation{target.id, target.disk.incarnation};
  } else {
    return Violate("unknown change: " + words[0]);
  }
  const ChangeResult result = node.core->ProposeChange(change, now_us_ / 1000);
  Say(result.status.ok()
          ? fmt::format("{} appends the change at {}", leader, Show(result.entry->position()))
          : leader + " refuses the change: " + std::string(result.status.message()));
  Perform(&node);
}

void CoreCluster::Join(const std::string& name, const std::string& source) {
  Node& node = Find(name);
  const Node& of = Find(source);
  if (node.core != nullptr || of.core == nullptr) return Violate(name + " cannot join");
  node.disk.base.membership = of.core->membership();
  node.disk.state.membership = of.core->membership();
  if (const Member* member = of.core->membership().Find(node.id)) node.address = member->address;
  if (const Node* other = ListensAt(node.address)) {
    return Violate(other->name + " listens at the address of " + name);
  }
  Restart(name);
}

void CoreCluster::Wipe(const std::string& name) {
  Node& node = Find(name);
  if (node.core != nullptr) return Violate(name + " is up");
  const uint64_t incarnation = node.disk.incarnation + 1;
  node.disk = {};
  node.disk.incarnation = incarnation;
}

void CoreCluster::Transfer(const std::string& leader, const std::string& target) {
  Node& node = Find(leader);
  if (node.core == nullptr) return;
  const absl::Status status = node.core->Transfer(target.empty() ? NodeId() : Find(target).id);
  if (!status.ok()) Say(leader + " refuses the handover: " + std::string(status.message()));
  Perform(&node);
}

void CoreCluster::HoldFetch(const std::string& name, bool hold) { Find(name).hold_fetch = hold; }
void CoreCluster::HoldInstall(const std::string& name, bool hold) {
  Find(name).hold_install = hold;
}

void CoreCluster::FailFetch(const std::string& name) {
  Node& node = Find(name);
  if (!node.fetching) return Violate(name + " fetches nothing");
  const uint64_t id = std::exchange(node.fetching, std::nullopt)->id;
  Step(&node, SnapshotFetched{id, absl::UnavailableError("the source broke off")});
}

// The source hands out what it has applied, if that is enough.
bool CoreCluster::FinishFetch(Node* node) {
  if (node->core == nullptr || node->hold_fetch || !node->fetching) return false;
  const SnapshotFetch fetch = *std::exchange(node->fetching, std::nullopt);
  const Node& source = nodes_[fetch.source.value() - 1];
  const bool has = source.core != nullptr && source.disk.state.point.at.index >= fetch.at_least;
  if (!has) {
    Step(node, SnapshotFetched{fetch.id, absl::UnavailableError(source.name + " has none")});
    return true;
  }
  const LogBase base = source.disk.state;
  Say(fmt::format("{} has fetched a snapshot of {} up to {}", node->name, source.name,
                  Show(base.point.at)));
  Step(node, SnapshotFetching{fetch.id, base.point.at.index, 1, 1});
  Step(node, SnapshotFetched{fetch.id, base});
  return true;
}

bool CoreCluster::FinishInstall(Node* node) {
  if (node->core == nullptr || node->hold_install || !node->installing) return false;
  if (node->hold_apply && !node->applying.empty()) return false;
  ApplySome(node);
  node->disk.state = *std::exchange(node->installing, std::nullopt);
  Say(node->name + " has installed it");
  Step(node, Installed{node->disk.state});
  return true;
}

const CoreCluster::Node* CoreCluster::ListensAt(const std::string& address) const {
  for (const Node& node : nodes_) {
    if (node.core != nullptr && node.address == address) return &node;
  }
  return nullptr;
}

// What both ends do when a stream is opened (R26, R27).
bool CoreCluster::Admits(const Node& receiver, const Message& message) {
  const Node& sender = nodes_[message.from.value() - 1];
  const Member* member =
      sender.core == nullptr ? nullptr : sender.core->memberships().Find(receiver.id);
  const Node* found = member == nullptr ? nullptr : ListensAt(member->address);
  if (found != nullptr && found != &receiver) {
    if (trace_messages_) {
      Say(fmt::format("{} answers at the address of {}: lost is {}", found->name, receiver.name,
                      Describe(message)));
    }
    return false;
  }
  if (receiver.core == nullptr || sender.core == nullptr) return true;
  const auto refusal = [](const Node& by, const Node& of) {
    return RefuseSender(by.core->memberships(), {of.id, of.name, of.disk.incarnation,
                                                 of.core->memberships().newest.index, of.version});
  };
  const std::string refused = refusal(receiver, sender);
  const std::string in_turn = refusal(sender, receiver);
  if (refused.empty() && in_turn.empty()) return true;
  if (trace_messages_) {
    Say((refused.empty() ? sender.name + " refuses to send " : receiver.name + " refuses ") +
        Describe(message) + ": " + (refused.empty() ? in_turn : refused));
  }
  return false;
}

std::string CoreCluster::Describe(const Message& message) const {
  struct Visitor {
    std::string operator()(const AppendMessage& m) const {
      return fmt::format("{} after {} entries {} commit {}", m.relayed ? "Relayed" : "Append",
                         Show(m.previous), Show(m.entries), m.commit.value());
    }
    std::string operator()(const AppendAck& m) const {
      if (m.rejected) {
        return fmt::format("AppendAck rejects {}, log ends at {}, commit {}",
                           m.previous_index.value(), Show(m.last.at), m.commit.value());
      }
      return fmt::format("AppendAck match {} applied {}", m.match.value(), m.applied.value());
    }
    std::string operator()(const HeartbeatMessage& m) const {
      std::string feeds;
      for (const Feed& feed : m.feeds) {
        feeds += fmt::format(" feed n{} after {}", feed.learner.value(), feed.after.value());
      }
      return fmt::format("Heartbeat round {} commit {}{}", m.round, m.commit.value(), feeds);
    }
    std::string operator()(const HeartbeatAck& m) const {
      return fmt::format("HeartbeatAck round {} match {}", m.round, m.match.value());
    }
    std::string operator()(const VoteMessage& m) const {
      return fmt::format("{}Vote{} last {}", m.pre ? "Pre" : "", m.transfer ? " transfer" : "",
                         Show(m.last));
    }
    std::string operator()(const VoteAck& m) const {
      return fmt::format("{}VoteAck {}{}", m.pre ? "Pre" : "",
                         m.granted ? "granted" : "refused: ", m.refusal);
    }
    std::string operator()(const ReadIndexMessage& m) const {
      return fmt::format("ReadIndex {}", NumberOf(m.id));
    }
    std::string operator()(const ReadIndexAck& m) const {
      return m.granted ? fmt::format("ReadIndexAck {} index {}", NumberOf(m.id), m.index.value())
                       : fmt::format("ReadIndexAck {} refused", NumberOf(m.id));
    }
    std::string operator()(const TimeoutNowMessage&) const { return "TimeoutNow"; }
    std::string operator()(const SnapshotOffer& m) const {
      return fmt::format("SnapshotOffer {} source {} at least {}", m.id, m.source.value(),
                         m.at_least.value());
    }
    std::string operator()(const SnapshotReport& m) const {
      constexpr const char* kPhases[] = {"", "fetching", "installing", "installed", "failed"};
      return fmt::format("SnapshotReport {} {} index {} {}", m.id,
                         kPhases[static_cast<size_t>(m.phase)], m.index.value(), m.error);
    }
  };
  return fmt::format("{} -> {} term {} {}", NameOf(message.from), NameOf(message.to),
                     message.term.value(), std::visit(Visitor(), message.body));
}

}  // namespace skein
