// The simulated disk as a World of the contract suites: what the simulator stands on keeps the same
// contracts as what runs in production.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/contract/world.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_disk.h"
#include "tests/support/storage_event_log.h"

namespace skein::sim {

class SimWorld : public WorldWithoutFaults {
 public:
  SimWorld() { checker_.Connect(context_, {{{NodeId(1), "n1", "n1"}}}, {&image_}); }

  absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Membership& initial) {
    faults_ = {};
    if (image_.base.membership.members.empty()) image_.base.membership = initial;
    auto store = std::make_unique<SimLogStore>(context_, 0, &image_, &faults_, NextRandom());
    log_ = store.get();
    return std::unique_ptr<LogStore>(std::move(store));
  }
  absl::StatusOr<std::unique_ptr<StateMachine>> OpenState() {
    return std::unique_ptr<StateMachine>(
        std::make_unique<SimStateMachine>(context_, 0, &image_, NextRandom()));
  }
  std::optional<std::string> Get(StateMachine& state, const std::string& key) {
    const auto& data = dynamic_cast<SimStateMachine&>(state).state().data;
    const auto it = data.find(key);
    return it == data.end() ? std::nullopt : std::optional(it->second.value);
  }
  uint64_t Digest(StateMachine& state) {
    return dynamic_cast<SimStateMachine&>(state).state().digest;
  }
  absl::StatusOr<LogBase> Fetch(SimWorld&, StateMachine& source, StateMachine&) {
    image_.incoming = dynamic_cast<SimStateMachine&>(source).state();
    return LogBase{image_.incoming->applied, image_.incoming->membership};
  }
  bool MakeDurable(StateMachine& state) {
    dynamic_cast<SimStateMachine&>(state).Flush();
    return true;
  }
  bool WaitUntil(const EventLog& log, const std::function<bool(const std::vector<Event>&)>& done) {
    constexpr int kStepsMax = 10'000;
    for (int step = 0; step < kStepsMax; ++step) {
      if (done(log.events())) return true;
      if (!scheduler_.RunNext()) break;
    }
    return done(log.events());
  }

  static constexpr bool kCanLosePower = true;
  void LosePower(const TornTail& = {}) {
    if (log_ != nullptr) log_->Crash();
  }

 protected:
  Random NextRandom() { return Random(++opened_); }

  const SimOptions options_;
  Scheduler scheduler_;
  Trace trace_{&scheduler_, 0, false};
  Coverage coverage_;
  Checker checker_;
  const SimContext context_{&options_, &scheduler_, &trace_, &coverage_, &checker_};
  DiskImage image_;
  DiskFaults faults_;
  SimLogStore* log_ = nullptr;  // that was opened last
  uint64_t opened_ = 0;
};

// With the faults that the simulated log has.
class FaultySimWorld : public SimWorld {
 public:
  static constexpr bool kCanFailSyncs = true;
  void FailSyncs() { faults_.fail_next_write = true; }

  static constexpr bool kCanHang = true;
  void HangSyncs() { faults_.stalled_until_us = ~uint64_t{0}; }
  bool AwaitHang() {
    for (int step = 0; step < 100 && scheduler_.RunNext(); ++step) {
    }
    return true;
  }
  void ReleaseSyncs() { faults_.stalled_until_us = 0; }

  static constexpr bool kCanRunFull = true;
  void SetFreeBytes(std::optional<uint64_t> bytes) { faults_.full = bytes.has_value(); }
};

}  // namespace skein::sim
