// Hurts clusters of skeind processes for some time and says whether they kept their promises.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/integration/torture_run.h"

namespace skein {
namespace {

std::atomic<bool> interrupted{false};

void OnSignal(int) { interrupted = true; }

// A thousand clients need a thousand files, here and in each node, which inherits the limit.
void AllowManyFiles() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void Say(const std::string& line) {
  const bool colours = ::isatty(1) != 0 && ::getenv("NO_COLOR") == nullptr;
  const bool bad = line.find("VIOLATED") != std::string::npos;
  if (colours) {
    std::printf("%s%s\033[0m\n", bad ? "\033[31m" : "\033[2m", line.c_str());
  } else {
    std::printf("%s\n", line.c_str());
  }
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  TortureOptions options;
  double minutes = 0;
  double seconds = 0;
  std::string report_path;
  std::vector<std::string> kinds;
  options.seed = Random::SeedFromSystem() % 1'000'000;
  CLI::App app(
      "Hurts clusters of skeind processes under a checked load, round by round, until the "
      "time is over or a promise is broken. Exit 0: none was; 1: one was; 130: interrupted.");
  app.add_option("--minutes", minutes, "How long (1, unless --seconds says otherwise)");
  app.add_option("--seconds", seconds, "How long, in seconds");
  app.add_option("--seed", options.seed, "Draws the same faults again; their timing still varies");
  app.add_option("--nodes", options.nodes, "Nodes of each cluster (3, and every third time 5)")
      ->check(CLI::IsMember({3, 5}));
  app.add_option("--fault", kinds, "Only faults of this name; may be repeated");
  app.add_flag("--every-kind", options.every_kind,
               "Goes on until every kind of fault was tried, and fails if one could not be");
  app.add_option("--report", report_path, "Writes the report, in markdown, to this file");
  CLI11_PARSE(app, argc, argv);
  options.seconds = seconds > 0 ? seconds : minutes > 0 ? 60 * minutes : 60;
  for (const std::string& name : kinds) {
    const size_t before = options.kinds.size();
    for (int kind = 0; kind < kFaultKinds; ++kind) {
      const auto candidate = static_cast<FaultKind>(kind);
      if (FactsOf(candidate).name == name) options.kinds.push_back(candidate);
    }
    if (options.kinds.size() > before) continue;
    std::fprintf(stderr, "there is no fault '%s'; there are:\n", name.c_str());
    for (int kind = 0; kind < kFaultKinds; ++kind) {
      const FaultFacts& facts = FactsOf(static_cast<FaultKind>(kind));
      std::fprintf(stderr, "  %-24s %s\n", facts.name, facts.what);
    }
    return 2;
  }
  ::signal(SIGINT, OnSignal);
  ::signal(SIGTERM, OnSignal);
  AllowManyFiles();
  options.stop = &interrupted;
  options.progress = Say;
  Say(fmt::format("seed {}, {:.0f} s", options.seed, options.seconds));

  const TortureReport report = TortureRun(options).Run();
  const std::string page = report.Markdown();
  std::printf("\n%s", page.c_str());
  if (!report_path.empty()) std::ofstream(report_path) << page;
  if (!report.violations.empty()) return 1;
  if (report.interrupted) return 130;
  if (options.every_kind && report.KindsTried() < kFaultKinds) {
    std::fprintf(stderr, "not every kind of fault was tried\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) { return skein::Main(argc, argv); }
