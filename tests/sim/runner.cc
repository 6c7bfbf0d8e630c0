#include "tests/sim/runner.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <vector>

#include "common/check.h"

namespace skein::sim {
namespace {

constexpr size_t kTraceLines = 500;

volatile sig_atomic_t interrupted = 0;

// What a worker says: that it begins a seed, or how the seed ended, followed by the violation.
struct Report {
  uint64_t seed;
  bool ended;
  uint64_t steps;
  uint64_t simulated_us;
  Coverage coverage;
  uint64_t violation_bytes;
};

struct Worker {
  pid_t pid = -1;
  int pipe = -1;
  uint64_t seed = 0;  // that it works on
};

void WriteAll(int fd, const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = write(fd, at, bytes);
    if (written <= 0) _exit(3);
    at += written;
    bytes -= static_cast<size_t>(written);
  }
}

bool ReadAll(int fd, void* data, size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = read(fd, at, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

RunResult RunOnce(uint64_t seed, const RunnerOptions& options) {
  Simulation simulation(DrawOptions(seed, options.faults), options.limits, 0, false);
  return simulation.Run();
}

RunResult RunSeed(uint64_t seed, const RunnerOptions& options) {
  RunResult result = RunOnce(seed, options);
  if (seed >= options.first_seed + options.twice || !result.violation.empty()) return result;
  if (RunOnce(seed, options).fingerprint != result.fingerprint) {
    result.violation = "two runs of this seed are not alike: something is not deterministic";
  }
  return result;
}

[[noreturn]] void Work(int pipe, uint64_t first, const RunnerOptions& options) {
  signal(SIGINT, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (uint64_t seed = first; seed <= options.last_seed; seed += options.jobs) {
    Report report{.seed = seed};
    WriteAll(pipe, &report, sizeof(report));
    const RunResult result = RunSeed(seed, options);
    report = {
        seed, true, result.steps, result.simulated_us, result.coverage, result.violation.size()};
    WriteAll(pipe, &report, sizeof(report));
    WriteAll(pipe, result.violation.data(), result.violation.size());
    if (!result.violation.empty()) break;
  }
  _exit(0);
}

Worker StartWorker(unsigned number, const RunnerOptions& options) {
  int ends[2];
  SKEIN_CHECK(pipe(ends) == 0);
  Worker worker{.pid = fork(), .pipe = ends[0]};
  SKEIN_CHECK(worker.pid >= 0);
  if (worker.pid == 0) {
    close(ends[0]);
    Work(ends[1], options.first_seed + number, options);
  }
  close(ends[1]);
  return worker;
}

void NoteFailure(uint64_t seed, const std::string& violation, RunSummary* summary) {
  if (summary->failed_seed && *summary->failed_seed <= seed) return;
  summary->failed_seed = seed;
  summary->violation = violation;
}

// False: the worker has ended.
bool TakeReport(Worker* worker, RunSummary* summary) {
  Report report;
  if (!ReadAll(worker->pipe, &report, sizeof(report))) {
    int status = 0;
    waitpid(worker->pid, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
      NoteFailure(worker->seed, fmt::format("ended by signal {}", WTERMSIG(status)), summary);
    }
    close(worker->pipe);
    worker->pid = -1;
    return false;
  }
  worker->seed = report.seed;
  if (!report.ended) return true;
  ++summary->seeds;
  summary->steps += report.steps;
  summary->simulated_us += report.simulated_us;
  summary->coverage.Add(report.coverage);
  std::string violation(report.violation_bytes, '\0');
  if (!ReadAll(worker->pipe, violation.data(), violation.size())) return true;
  if (!violation.empty()) NoteFailure(report.seed, violation, summary);
  return true;
}

void ShowProgress(const RunSummary& summary, const RunnerOptions& options) {
  if (options.quiet || isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r{} of {} seeds, {} elections, {:.0f} simulated seconds a second ",
             summary.seeds, options.last_seed - options.first_seed + 1,
             summary.coverage.Of(Mark::kElection),
             static_cast<double>(summary.simulated_us) / 1e6 / std::max(summary.seconds, 0.001));
}

void OnInterrupt(int) { interrupted = 1; }

Simulation* traced = nullptr;

// The trace is in memory that the failed check did not touch.
void OnAbort(int) {
  fmt::print("{}", traced->LastLines());
  std::fflush(stdout);
  _exit(1);
}

}  // namespace

RunSummary RunSeeds(const RunnerOptions& options) {
  RunSummary summary;
  interrupted = 0;
  struct sigaction on_interrupt = {};
  struct sigaction before = {};
  on_interrupt.sa_handler = OnInterrupt;
  sigaction(SIGINT, &on_interrupt, &before);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Worker> workers;
  for (unsigned i = 0; i < options.jobs; ++i) workers.push_back(StartWorker(i, options));
  size_t running = workers.size();
  while (running > 0 && !summary.failed_seed && interrupted == 0) {
    std::vector<pollfd> pipes;
    for (const Worker& worker : workers) {
      pipes.push_back({.fd = worker.pid < 0 ? -1 : worker.pipe, .events = POLLIN});
    }
    if (poll(pipes.data(), pipes.size(), 1000) < 0) continue;
    for (size_t i = 0; i < workers.size(); ++i) {
      if (pipes[i].revents != 0 && !TakeReport(&workers[i], &summary)) --running;
    }
    const std::chrono::duration<double> past = std::chrono::steady_clock::now() - begin;
    summary.seconds = past.count();
    ShowProgress(summary, options);
  }
  summary.interrupted = interrupted != 0;
  for (Worker& worker : workers) {
    if (worker.pid < 0) continue;
    kill(worker.pid, SIGKILL);
    waitpid(worker.pid, nullptr, 0);
    close(worker.pipe);
  }
  if (!options.quiet && isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\n");
  sigaction(SIGINT, &before, nullptr);
  return summary;
}

std::string TraceSeed(uint64_t seed, const RunnerOptions& options, bool live) {
  std::fflush(stdout);
  int ends[2];
  SKEIN_CHECK(pipe(ends) == 0);
  const pid_t pid = fork();
  SKEIN_CHECK(pid >= 0);
  if (pid == 0) {
    close(ends[0]);
    Simulation simulation(DrawOptions(seed, options.faults), options.limits, live ? 0 : kTraceLines,
                          live);
    traced = &simulation;
    signal(SIGABRT, OnAbort);
    const RunResult result = simulation.Run();
    fmt::print("{}", simulation.LastLines());
    std::fflush(stdout);
    WriteAll(ends[1], result.violation.data(), result.violation.size());
    _exit(0);
  }
  close(ends[1]);
  std::string violation;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) > 0;)
    violation.append(buffer, got);
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  if (violation.empty() && status != 0) return "a check failed, see above";
  return violation;
}

}  // namespace skein::sim
