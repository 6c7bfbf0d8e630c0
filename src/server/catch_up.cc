#include "server/catch_up.h"

#include <algorithm>

namespace skein {
namespace {

constexpr uint64_t kIntervalUs = 500'000;

}  // namespace

std::optional<CatchUp> CatchUpWatch::Measure(const Replica& replica, NodeId member) const {
  const Core& core = replica.core();
  const auto it = core.progress().find(member);
  if (it == core.progress().end()) return std::nullopt;
  const Progress& progress = it->second;
  if (progress.mode == Progress::Mode::kSnapshot) {
    const SnapshotReport& report = progress.snapshot.report;
    CatchUp state{
        .way = CatchUp::Way::kSnapshot,
        .bytes_done = report.bytes_done,
        .bytes_left = report.bytes_total - std::min(report.bytes_done, report.bytes_total),
        .source = progress.snapshot.source};
    const bool fetched =
        report.phase == SnapshotPhase::kInstalling || report.phase == SnapshotPhase::kInstalled;
    if (fetched) state.way = CatchUp::Way::kInstall;
    return state;
  }
  if (core.IsLevel(progress)) return std::nullopt;
  return CatchUp{.way = CatchUp::Way::kLog, .bytes_left = replica.LagOf(member).bytes};
}

void CatchUpWatch::AfterPerform(const Replica& replica) {
  if (replica.core().role() != Role::kLeader) {
    samples_.clear();
    return;
  }
  const uint64_t now_us = clock_->MonotonicMicros();
  if (now_us < next_us_) return;
  next_us_ = now_us + kIntervalUs;
  std::map<NodeId, Sample> samples;
  for (const auto& [id, progress] : replica.core().progress()) {
    const std::optional<CatchUp> state = Measure(replica, id);
    if (!state) continue;
    Sample sample{.at = *state, .at_us = now_us};
    const auto before = samples_.find(id);
    const bool goes_on = before != samples_.end() && before->second.at.way == state->way &&
                         before->second.at.source == state->source;
    if (goes_on) {
      const Sample& last = before->second;
      const uint64_t closer = last.at.bytes_left - std::min(state->bytes_left, last.at.bytes_left);
      const double rate =
          static_cast<double>(closer) * 1e6 / static_cast<double>(now_us - last.at_us);
      sample.bytes_per_second =
          last.bytes_per_second == 0 ? rate : (last.bytes_per_second + rate) / 2;
    }
    samples.emplace(id, sample);
  }
  samples_ = std::move(samples);
}

std::optional<CatchUp> CatchUpWatch::Of(const Replica& replica, NodeId member) const {
  std::optional<CatchUp> state = Measure(replica, member);
  const auto sample = samples_.find(member);
  if (state && sample != samples_.end() && sample->second.at.way == state->way) {
    state->bytes_per_second = static_cast<uint64_t>(sample->second.bytes_per_second);
  }
  return state;
}

}  // namespace skein
