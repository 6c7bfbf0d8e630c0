// skein_sim: whole clusters in simulated time, under every fault that a seed draws.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <thread>

#include "common/planted_bug.h"
#include "tests/sim/runner.h"

namespace skein::sim {
namespace {

constexpr int kExitViolation = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;
constexpr uint64_t kCoverageSeeds = 100;  // fewer may miss a mark by chance

constexpr char kFooter[] = R"(Examples:
  the first thousand seeds on two cores:
    skein_sim --seeds 1..1000 --jobs 2
  one seed again, with everything that happens:
    skein_sim --seeds 42 --trace | less
  the same without lost messages and crashes:
    skein_sim --seeds 42 --without loss,crash
  with what few seeds have together:
    skein_sim --seeds 1..5000 --with change,transfer,wipe

Exit codes: 0 no violation; 1 a violation, or something that should have happened never did;
2 wrong usage; 130 interrupted.)";

#ifdef SKEIN_PLANTED_BUGS
void AddPlantOption(CLI::App* app, std::string* plant) {
  app->add_option("--plant", *plant, "The bug to plant, see common/planted_bug.h");
}
void Plant(const std::string& name) { planted_bug = name; }
#else
void AddPlantOption(CLI::App*, std::string*) {}
void Plant(const std::string&) {}
#endif

// `A..B` or `A`.
bool ParseSeeds(const std::string& text, RunnerOptions* options) {
  unsigned long long first = 0;
  unsigned long long last = 0;
  int used = 0;
  const int size = static_cast<int>(text.size());
  if (std::sscanf(text.c_str(), "%llu..%llu%n", &first, &last, &used) == 2 && used == size) {
    options->first_seed = first;
    options->last_seed = last;
    return first <= last;
  }
  if (std::sscanf(text.c_str(), "%llu%n", &first, &used) != 1 || used != size) return false;
  options->first_seed = options->last_seed = first;
  return true;
}

std::string ReplayCommand(uint64_t seed, const RunnerOptions& options, const std::string& program,
                          const std::string& plant) {
  std::string command =
      fmt::format("{} --seeds {} --steps {}", program, seed, options.limits.steps);
  if (options.limits.until_us != RunLimits().until_us) {
    command += fmt::format(" --until {}", options.limits.until_us / 1e6);
  }
  if (!options.faults.with.empty()) {
    command += fmt::format(" --with {}", fmt::join(options.faults.with, ","));
  }
  if (!options.faults.without.empty()) {
    command += fmt::format(" --without {}", fmt::join(options.faults.without, ","));
  }
  if (!plant.empty()) command += " --plant " + plant;
  return command + " --trace";
}

int Finish(const RunSummary& summary, const RunnerOptions& options, const std::string& program,
           const std::string& plant) {
  if (summary.failed_seed) {
    const uint64_t seed = *summary.failed_seed;
    fmt::print("the last events of seed {}:\n", seed);
    const std::string violation = TraceSeed(seed, options, /*live=*/false);
    fmt::print("\nVIOLATION in seed {}: {}\n{}\nreplay: {}\n", seed,
               violation.empty() ? summary.violation : violation,
               Describe(DrawOptions(seed, options.faults)),
               ReplayCommand(seed, options, program, plant));
    return kExitViolation;
  }
  const double simulated = static_cast<double>(summary.simulated_us) / 1e6;
  fmt::print("{}", summary.coverage.Report());
  fmt::print("{} seeds, {} events, {:.0f} simulated seconds in {:.1f} s: {:.0f} a second\n",
             summary.seeds, summary.steps, simulated, summary.seconds,
             simulated / std::max(summary.seconds, 0.001));
  if (summary.interrupted) return kExitInterrupted;
  const std::string missing = summary.coverage.Missing();
  if (summary.seeds >= kCoverageSeeds && options.faults.without.empty() && !missing.empty()) {
    fmt::print("never happened: {}\n", missing);
    return kExitViolation;
  }
  fmt::print("no violation\n");
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app("Simulates Skein clusters under random faults, and checks what must always hold.");
  app.footer(kFooter);
  RunnerOptions options;
  std::string seeds = "1..200";
  std::vector<std::string> with;
  std::vector<std::string> without;
  double until_s = 0;
  bool trace = false;
  options.jobs = std::max(1u, std::thread::hardware_concurrency());
  app.add_option("--seeds", seeds, "Which seeds, as A..B or A")->capture_default_str();
  app.add_option("--steps", options.limits.steps, "Events of each seed before a quorum is healed")
      ->capture_default_str();
  app.add_option("--until", until_s, "Simulated seconds before that, if they pass earlier");
  app.add_option("--jobs", options.jobs, "Seeds at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("--twice", options.twice, "So many of the first seeds run twice and must be alike")
      ->capture_default_str();
  app.add_option("--with", with, "Faults that every seed has: change,transfer,...")
      ->delimiter(',')
      ->check(CLI::IsMember(FaultNames()));
  app.add_option("--without", without, "Faults to leave out: loss,dup,...")
      ->delimiter(',')
      ->check(CLI::IsMember(FaultNames()));
  app.add_flag("--trace", trace, "Print what happens in the first seed, and run no other");
  app.add_flag("--quiet", options.quiet, "No progress");
  std::string plant;
  AddPlantOption(&app, &plant);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (!ParseSeeds(seeds, &options)) {
    fmt::print(stderr, "skein_sim: '{}' is no range of seeds; write 1..200 or 42\n", seeds);
    return kExitUsage;
  }
  Plant(plant);
  options.faults.with.insert(with.begin(), with.end());
  options.faults.without.insert(without.begin(), without.end());
  if (until_s > 0) options.limits.until_us = static_cast<uint64_t>(until_s * 1e6);
  if (trace) {
    const std::string violation = TraceSeed(options.first_seed, options, /*live=*/true);
    if (!violation.empty()) fmt::print("VIOLATION: {}\n", violation);
    return violation.empty() ? 0 : kExitViolation;
  }
  return Finish(RunSeeds(options), options, argv[0], plant);
}

}  // namespace
}  // namespace skein::sim

int main(int argc, char** argv) { return skein::sim::Main(argc, argv); }
