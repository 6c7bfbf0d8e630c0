// How a simulated node gets a snapshot. It takes time, breaks off, and goes on.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tests/sim/sim_node.h"

namespace skein::sim {

// A crash between the swap of the state and the reset of the log: see docs/disk_format.md.
void SimNode::CompleteInstall() {
  const std::optional<LogBase>& origin = disk_.state.origin;
  if (!origin || origin->point.at.index <= disk_.base.point.at.index) return;
  const EntryPtr entry = disk_.Find(origin->point.at.index);
  if (entry != nullptr && entry->point() == origin->point) return;
  context_.coverage->Count(Mark::kInstallCompleted);
  context_.trace->Say(NodeName(node_) + " completes the installation of a snapshot");
  ResetLog(context_, node_, &disk_, LogBase(*origin));
}

void SimNode::Fetch(const SnapshotFetch& fetch) {
  process_->fetch = {fetch.id, Index()};
  TellOfFetch(fetch.id);
  context_.scheduler->After(1 + Exponential(&random_, context_.options->fetch_mean_us),
                            [this, fetch, alive = process_->alive] {
                              if (*alive && process_->fetch.id == fetch.id) FetchFrom(fetch);
                            });
}

// Also if it does not get on.
void SimNode::TellOfFetch(uint64_t id) {
  Post(SnapshotFetching{id, process_->fetch.index, 0, 1});
  const CoreOptions& core = context_.options->replica.core;
  context_.scheduler->After(core.snapshot_silence_ticks * core.tick_ms * 1000 / 8,
                            [this, id, alive = process_->alive] {
                              if (*alive && process_->fetch.id == id) TellOfFetch(id);
                            });
}

void SimNode::FetchFails(const SnapshotFetch& fetch, const std::string& why) {
  context_.coverage->Count(Mark::kSnapshotFailed);
  process_->fetch = {};
  Post(SnapshotFetched{fetch.id, absl::UnavailableError(why)});
}

bool SimNode::CanFetchFrom(const SimNode& source) {
  const bool reached =
      network_->Reaches(node_, source.node_) && network_->Reaches(source.node_, node_);
  return reached && source.process_ != nullptr && !source.paused_;
}

// What the source has applied, or what it had when an earlier fetch of this node broke off.
void SimNode::FetchFrom(const SnapshotFetch& fetch) {
  SimNode& source = hooks_.node(fetch.source);
  if (!CanFetchFrom(source) || source.process_->state->Recovered().at.index < fetch.at_least) {
    return FetchFails(fetch, NodeName(source.node_) + " is away, or has none");
  }
  if (source.process_->serving >= context_.options->snapshots_max) {
    context_.coverage->Count(Mark::kSnapshotSourceFull);
    return FetchFails(fetch, NodeName(source.node_) + " sends as many as it may");
  }
  const bool goes_on = disk_.partial && disk_.partial->first == fetch.source &&
                       disk_.partial->second.applied.at.index >= fetch.at_least &&
                       random_.Chance(0.8);  // it has kept its files
  if (goes_on) {
    context_.coverage->Count(Mark::kSnapshotWentOn);
  } else {
    disk_.partial = {fetch.source, source.process_->state->state()};
  }
  process_->fetch.index = disk_.partial->second.applied.at.index;
  ++source.process_->serving;
  context_.scheduler->After(
      1 + Exponential(&random_, context_.options->fetch_mean_us),
      [this, fetch, &source, alive = process_->alive, serves = source.process_->alive] {
        if (*serves) --source.process_->serving;
        if (*alive && process_->fetch.id == fetch.id) FinishFetch(fetch, *serves);
      });
}

// `served`: the source's process has lived all the while.
void SimNode::FinishFetch(const SnapshotFetch& fetch, bool served) {
  const bool fails = !network_->calm() && random_.Chance(context_.options->fetch_fails);
  if (!served || fails || !CanFetchFrom(hooks_.node(fetch.source))) {
    return FetchFails(fetch, NodeName(fetch.source.value() - 1) + " broke off");
  }
  context_.coverage->Count(Mark::kSnapshotFetched);
  process_->fetch = {};
  disk_.incoming = std::exchange(disk_.partial, std::nullopt)->second;
  Post(SnapshotFetched{fetch.id, LogBase{disk_.incoming->applied, disk_.incoming->membership}});
}

// Now and then, before the reset of its log is on the disk.
void SimNode::CrashAmidInstall() {
  const bool wild = context_.options->faults.crash != 0 && !network_->calm();
  if (!wild || !random_.Chance(0.3)) return;
  context_.scheduler->After(1, [this, alive = process_->alive] {
    if (*alive && !network_->calm()) Crash(/*power=*/false);
  });
}

}  // namespace skein::sim
