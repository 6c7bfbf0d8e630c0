#include "tests/integration/torture_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace skein {
namespace {

constexpr OpKind kAllOpKinds[] = {OpKind::kPut,    OpKind::kDelete,     OpKind::kGetAny,
                                  OpKind::kGetOwn, OpKind::kGetBounded, OpKind::kGetLinearizable};

std::string Figures(const Durations& durations) {
  if (durations.ms.empty()) return "0 | | | ";
  return fmt::format("{} | {:.0f} | {:.0f} | {:.0f}", durations.ms.size(), durations.Quantile(0.5),
                     durations.Quantile(0.99), durations.Quantile(1));
}

}  // namespace

double Durations::Quantile(double q) const {
  if (ms.empty()) return 0;
  std::vector<double> sorted = ms;
  std::sort(sorted.begin(), sorted.end());
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

std::string WithCommas(uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

void TortureReport::Count(const std::vector<OpRecord>& records) {
  for (const OpRecord& record : records) {
    ++operations[static_cast<size_t>(record.kind)][static_cast<size_t>(record.outcome)];
  }
}

int TortureReport::KindsTried() const {
  return static_cast<int>(
      std::count_if(faults.begin(), faults.end(), [](const auto& f) { return f.tried > 0; }));
}

uint64_t TortureReport::Operations() const {
  uint64_t all = 0;
  for (const auto& kind : operations) {
    for (const uint64_t count : kind) all += count;
  }
  return all;
}

std::string TortureReport::Markdown() const {
  std::string text = fmt::format(
      "{:.1f} minutes{}, seed {}: {} rounds on {} clusters of {} nodes, {} of {} kinds of faults, "
      "{} operations, {} elections. **{}**\n",
      seconds / 60, interrupted ? " (interrupted)" : "", seed, WithCommas(rounds), clusters,
      cluster_sizes, KindsTried(), kFaultKinds, WithCommas(Operations()), WithCommas(elections),
      violations.empty() ? "No violation." : "VIOLATED.");
  for (const std::string& violation : violations) text += "\n- " + violation;
  if (!kept.empty()) text += "\n\nData, logs and history are in `" + kept + "`.\n";

  text += "\n| operation | ok | refused | unknown |\n|---|---|---|---|\n";
  for (const OpKind kind : kAllOpKinds) {
    const auto& counts = operations[static_cast<size_t>(kind)];
    text += fmt::format("| {} | {} | {} | {} |\n", NameOf(kind), WithCommas(counts[0]),
                        WithCommas(counts[1]), WithCommas(counts[2]));
  }
  text +=
      "\nThe longest time without an acknowledged write, in ms, from the fault to one second after "
      "its end; where the fault takes the quorum away, from its end.\n"
      "\n| fault | tried | measured alone | median | p99 | max |\n|---|---|---|---|---|---|\n";
  for (int kind = 0; kind < kFaultKinds; ++kind) {
    const FaultFacts& facts = FactsOf(static_cast<FaultKind>(kind));
    text += fmt::format("| {}: {} | {} | {} |\n", facts.name, facts.what, faults[kind].tried,
                        Figures(faults[kind].pauses));
  }
  text += fmt::format("| all, alone | | {} |\n", Figures(alone));
  text += fmt::format("| rounds with several at once | | {} |\n", Figures(together));
  text +=
      fmt::format("| from the end of the last fault to the next write | | {} |\n", Figures(healed));
  return text;
}

}  // namespace skein
