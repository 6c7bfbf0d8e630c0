// What was sent in a test of the Transport, and whether what was posted agrees with that: the
// numbered sentences in transport.h, as far as they hold at any moment of any run.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "tests/contract/transport_log.h"

namespace skein {

// One process of a node.
struct ProcessId {
  NodeId node;
  size_t run = 0;  // of the node, from 1; 0: none

  friend auto operator<=>(const ProcessId&, const ProcessId&) = default;
};

class TransportLedger {
 public:
  // `to`: the process that ran then. `standing`: how often the link had come up, if it was up both
  // before and after; else 0.
  void OnSent(uint64_t serial, const MessageShape& shape, ProcessId from, ProcessId to,
              size_t standing) {
    sent_[serial] = {shape, from, to, standing, /*arrivals=*/0};
  }

  // Takes in all that was posted to a process, once for each. Empty, or what is wrong with it.
  std::string Check(ProcessId process, const TransportLog& log) {
    std::string wrong = CheckLinks(log.links());
    std::map<Flow, uint64_t> last;
    for (const Message& message : log.received()) {
      const auto it = sent_.find(SerialOf(message));
      if (it == sent_.end()) return wrong + Name(message) + " was never sent\n";
      Sent& sent = it->second;
      const Message original = MakeMessage(it->first, sent.shape, sent.from.node, sent.to.node);
      if (BytesOf(message) != BytesOf(original)) wrong += Name(message) + " was changed\n";
      if (sent.to != process) wrong += Name(message) + " was for another process\n";
      if (++sent.arrivals > 1) wrong += Name(message) + " arrived twice\n";
      if (sent.standing == 0) continue;
      uint64_t& before = last[FlowOf(sent)];
      if (before > it->first) {
        wrong += Name(message) + " arrived after " + std::to_string(before) + "\n";
      }
      before = std::max(before, it->first);
    }
    return wrong;
  }

  // At the end, if no queue was full and nothing was damaged: what did not arrive must be the tail
  // of what was sent while its link stood. Empty, or what is missing.
  std::string MissingAmidOthers() const {
    std::string wrong;
    std::map<Flow, uint64_t> missing;
    for (const auto& [serial, sent] : sent_) {
      if (sent.standing == 0) continue;
      const Flow flow = FlowOf(sent);
      if (sent.arrivals == 0) {
        missing.emplace(flow, serial);
      } else if (const auto it = missing.find(flow); it != missing.end()) {
        wrong += "message " + std::to_string(serial) + " arrived, but not " +
                 std::to_string(it->second) + " before it\n";
      }
    }
    return wrong;
  }

 private:
  struct Sent {
    MessageShape shape;
    ProcessId from;
    ProcessId to;
    size_t standing = 0;
    size_t arrivals = 0;
  };
  // What must arrive in order.
  using Flow = std::tuple<ProcessId, NodeId, size_t, bool>;

  static Flow FlowOf(const Sent& sent) {
    return {sent.from, sent.to.node, sent.standing, sent.shape.bulk};
  }
  static std::string Name(const Message& message) {
    return "message " + std::to_string(SerialOf(message));
  }

  static std::string CheckLinks(const std::vector<Event>& events) {
    enum class State { kNeverUp, kUp, kDown, kRefused };
    std::string wrong;
    std::map<NodeId, State> states;
    for (const Event& event : events) {
      if (const auto* up = std::get_if<LinkUp>(&event)) {
        State& state = states[up->peer];
        if (state == State::kUp) wrong += "a link came up that was up\n";
        state = State::kUp;
      } else if (const auto* down = std::get_if<LinkDown>(&event)) {
        State& state = states[down->peer];
        const bool news = state == State::kUp || (state == State::kDown && down->refused);
        if (!news) wrong += "a link went down that was down\n";
        state = down->refused ? State::kRefused : State::kDown;
      } else {
        wrong += "something was posted that no transport has to say\n";
      }
    }
    return wrong;
  }

  std::map<uint64_t, Sent> sent_;
};

}  // namespace skein
