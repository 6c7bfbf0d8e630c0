// The simulated network as a World of the contract suite of Transport.
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "tests/contract/transport_log.h"
#include "tests/contract/world.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_network.h"

namespace skein::sim {

class SimTransportWorld : public NetworkWithoutFaults, private NetworkEnds {
 public:
  explicit SimTransportWorld(const SimOptions& options = {})
      : options_(options), network_(context_, kNodes, static_cast<NetworkEnds*>(this), Random(1)) {
    checker_.Connect(context_, {}, {});
    for (size_t node = 0; node < kNodes; ++node) {
      nodes_[node].wire.network = &network_;
      nodes_[node].wire.node = node;
    }
  }
  ~SimTransportWorld() override { EXPECT_EQ(checker_.violation(), ""); }

  void Start(size_t node) {
    nodes_[node].alive = true;
    nodes_[node].log = std::make_unique<TransportLog>();
    network_.OnStart(node);
  }
  void End(size_t node) {
    nodes_[node].alive = false;
    network_.OnEnd(node);
  }
  static NodeId Id(size_t node) { return NodeId(node + 1); }
  Transport& transport(size_t node) { return nodes_[node].wire; }
  TransportLog& log(size_t node) { return *nodes_[node].log; }
  bool WaitUntil(const std::function<bool()>& done) {
    const uint64_t end_us = scheduler_.now_us() + kPatienceUs;
    // Without end when nothing is to happen: `done` may send.
    for (int idle = 0; idle < 2 && scheduler_.now_us() < end_us;) {
      if (done()) return true;
      idle = scheduler_.RunNext() ? 0 : idle + 1;
    }
    return done();
  }
  static constexpr size_t kFillMessages = 1000;
  static constexpr size_t kFillBytes = 100;

  static constexpr bool kCanBreak = true;
  void Break(size_t from, size_t to) { network_.Break(from, to); }

  static constexpr bool kCanStall = true;
  void Stall(size_t from, size_t to) {
    network_.Clog(from, to, scheduler_.now_us() + kStallUs);
    // Clogged for longer while it is clogged.
    scheduler_.After(kStallUs / 4, [this, from, to, until_us = scheduler_.now_us() + 2 * kStallUs] {
      network_.Clog(from, to, until_us);
    });
  }

  static constexpr bool kCanSwallow = true;
  void Swallow(size_t from, size_t to) { network_.Cut(from, to); }

  static constexpr bool kCanCut = true;
  void Cut(size_t from, size_t to) {
    network_.Cut(from, to);
    network_.Break(from, to);
  }
  void Heal(size_t from, size_t to) { network_.Uncut(from, to); }

  static constexpr bool kCanGarble = true;
  void Garble(size_t from, size_t to) { network_.Garble(from, to); }

 private:
  static constexpr size_t kNodes = 3;
  static constexpr uint64_t kPatienceUs = 60'000'000;
  static constexpr uint64_t kStallUs = 100'000;

  // A process's own end.
  struct Wire final : Transport {
    void Send(Message message) override { network->Send(node, message); }
    SimNetwork* network = nullptr;
    size_t node = 0;
  };
  struct Node {
    bool alive = false;
    std::unique_ptr<TransportLog> log;
    Wire wire;
  };

  bool IsAlive(size_t node) const override { return nodes_[node].alive; }
  void OnMessage(size_t node, Message message) override {
    nodes_[node].log->Post(Received{std::move(message), scheduler_.now_us()});
  }
  void OnLink(size_t node, Event event) override { nodes_[node].log->Post(std::move(event)); }

  const SimOptions options_;
  Scheduler scheduler_;
  Trace trace_{&scheduler_, 0, false};
  Coverage coverage_;
  Checker checker_;
  const SimContext context_{&options_, &scheduler_, &trace_, &coverage_, &checker_};
  SimNetwork network_;
  std::array<Node, kNodes> nodes_;
};

}  // namespace skein::sim
