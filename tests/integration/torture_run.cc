#include "tests/integration/torture_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/server/raw_node.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kClients = 5;  // the last one beats the pulse
constexpr int kLargeEvery = 3;
constexpr uint64_t kSomeWrites = 50;
constexpr seconds kRecoveryTime{60};
constexpr seconds kRoundTimeMax{60};
constexpr milliseconds kAfterwards{1000};
constexpr milliseconds kFaultsWithin{1500};
constexpr uint32_t kReadWaitMs = 25'000;
constexpr size_t kViolationsMax = 20;
constexpr double kPatienceForKinds = 5;  // times as long as was asked for

// Lines that no healthy node prints, whatever is done to it.
constexpr const char* kFatalWords[] = {"event=fatal", "check failed", "Sanitizer",
                                       "terminate called"};

}  // namespace

struct TortureRun::Cluster {
  explicit Cluster(const ProcessClusterOptions& options)
      : processes(options), watch(processes.Addresses()), log_read(options.nodes, 0) {
    ClientOptions client;
    client.refresh_interval = milliseconds(500);
    for (int i = 0; i < kClients; ++i) clients.push_back(processes.NewClient(client));
  }

  ProcessCluster processes;
  TortureWatch watch;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<size_t> log_read;  // bytes of each node's log that were looked at
  uint64_t first_term = 0;
  int rounds = 0;
};

struct TortureRun::Round {
  std::string prefix;
  std::vector<FaultKind> kinds;
  std::vector<FaultRecord> faults;
  uint64_t healed_us = 0;
  uint64_t end_us = 0;
  double pause_ms = 0;
  std::vector<std::string> violations;

  void Violated(std::vector<std::string> more) {
    std::move(more.begin(), more.end(), std::back_inserter(violations));
  }
};

TortureRun::TortureRun(const TortureOptions& options) : options_(options), random_(options.seed) {
  report_.seed = options.seed;
}
TortureRun::~TortureRun() = default;

bool TortureRun::Interrupted() const { return options_.stop != nullptr && *options_.stop; }

bool TortureRun::GoOn() {
  report_.seconds = static_cast<double>(SteadyMicros() - began_us_) / 1e6;
  if (Interrupted() || !report_.violations.empty()) return false;
  const bool more_kinds = options_.every_kind && report_.KindsTried() < kFaultKinds;
  return report_.seconds < (more_kinds ? kPatienceForKinds : 1) * options_.seconds;
}

TortureReport TortureRun::Run() {
  began_us_ = SteadyMicros();
  while (GoOn()) {
    if (cluster_ != nullptr && cluster_->rounds >= options_.rounds_per_cluster) EndCluster();
    if (cluster_ == nullptr) NewCluster();
    if (report_.violations.empty()) PlayRound();
  }
  EndCluster();
  report_.interrupted = Interrupted();
  return report_;
}

void TortureRun::NewCluster() {
  ProcessClusterOptions options;
  const bool large = options_.nodes == 0 && report_.clusters % kLargeEvery == kLargeEvery - 1;
  options.nodes = options_.nodes != 0 ? options_.nodes : large ? 5 : 3;
  options.proxied = true;
  ++report_.clusters;
  const std::string size = std::to_string(options.nodes);
  if (report_.cluster_sizes.find(size) == std::string::npos) {
    report_.cluster_sizes += (report_.cluster_sizes.empty() ? "" : " or ") + size;
  }
  cluster_ = std::make_unique<Cluster>(options);
  if (!WaitUntil(kRecoveryTime, [this] { return cluster_->watch.leader() >= 0; })) {
    report_.violations.push_back("a new cluster has no leader after a minute");
  }
  cluster_->first_term = cluster_->watch.term();
}

void TortureRun::EndCluster() {
  if (cluster_ == nullptr) return;
  report_.elections += cluster_->watch.term() - cluster_->first_term;
  cluster_.reset();
}

// From a shuffled deck of all kinds, so that none is left out for long.
FaultKind TortureRun::Draw() {
  if (deck_.empty()) {
    deck_ = options_.kinds;
    for (int kind = 0; deck_.size() < kFaultKinds && options_.kinds.empty(); ++kind) {
      deck_.push_back(static_cast<FaultKind>(kind));
    }
    for (size_t i = deck_.size(); i > 1; --i) std::swap(deck_[i - 1], deck_[random_.Below(i)]);
  }
  const FaultKind kind = deck_.back();
  deck_.pop_back();
  return kind;
}

void TortureRun::PlayRound() {
  Round round;
  round.prefix = fmt::format("r{}/", report_.rounds);
  ++report_.rounds;
  ++cluster_->rounds;
  const uint64_t dice = random_.Below(100);
  const int faults = dice < 55 ? 1 : dice < 85 ? 2 : 3;
  for (int i = 0; i < faults; ++i) round.kinds.push_back(Draw());

  TortureLoadOptions load_options;
  load_options.prefix = round.prefix;
  load_options.seed = random_.Next();
  TortureLoad load(cluster_->clients, load_options);
  Hurt(&round, load);
  std::vector<OpRecord> records = load.Stop();
  if (options_.falsify) options_.falsify(&records);
  if (options_.meddle) options_.meddle(&cluster_->processes);
  const size_t operations = records.size();
  Judge(&round, std::move(records));
  Tell(round, operations);
}

void TortureRun::Hurt(Round* round, const TortureLoad& load) {
  const auto more = [&](uint64_t count) {
    const uint64_t target = load.acknowledged() + count;
    return [&load, target] { return load.acknowledged() >= target; };
  };
  if (!WaitUntil(kRecoveryTime, more(kSomeWrites))) {
    round->Violated({"no writes for a minute, before any fault"});
  }
  TortureFaults faults(&cluster_->processes, &cluster_->watch, random_.Next());
  std::vector<uint64_t> begins;
  for (size_t i = 0; i < round->kinds.size(); ++i) {
    const uint64_t after_ms = i == 0 ? 0 : random_.Below(kFaultsWithin.count());
    begins.push_back(SteadyMicros() + after_ms * 1000);
  }
  size_t begun = 0;
  std::sort(begins.begin(), begins.end());
  WaitUntil(kRoundTimeMax, [&] {
    while (begun < begins.size() && SteadyMicros() >= begins[begun]) {
      faults.Begin(round->kinds[begun]);
      ++begun;
    }
    faults.Step();
    return Interrupted() || (begun == begins.size() && faults.idle());
  });
  faults.HealAll();
  round->faults = faults.TakeRecords();
  round->healed_us = SteadyMicros();
  if (!WaitUntil(kRecoveryTime, more(kSomeWrites))) {
    round->Violated({"no writes for a minute after all was healed"});
  }
  WaitUntil(kAfterwards, [&] {
    faults.Step();
    return Interrupted();
  });
  round->Violated(faults.TakeTrouble());
  round->end_us = SteadyMicros();
}

std::string ReadNode(const std::string& address, const std::string& prefix, uint64_t revision,
                     KeysOfNode* keys) {
  RawNode node(address);
  v1::ScanRequest request;
  request.set_prefix(prefix);
  request.mutable_read()->set_consistency(v1::AT_LEAST);
  request.mutable_read()->set_at_least_revision(revision);
  request.mutable_read()->set_wait_ms(kReadWaitMs);
  RawScan scan = node.Scan(request);
  if (!scan.status.ok()) return scan.status.error_message();
  for (v1::KeyValue& item : scan.items) {
    const bool fresh =
        keys->try_emplace(item.key(), std::move(*item.mutable_value()), item.version()).second;
    if (!fresh) return "the scan had " + item.key() + " twice";
  }
  return "";
}

std::vector<NodeContents> TortureRun::ReadAll(Round* round) {
  // Everything whose fate is open is settled once a later write is applied.
  absl::StatusOr<PutResult> last;
  WaitUntil(kRecoveryTime, [&] {
    last = cluster_->clients.front()->Put("last", round->prefix);
    return last.ok();
  });
  if (!last.ok()) {
    round->Violated({"no write got through at the end: " + last.status().ToString()});
    return {};
  }
  std::vector<NodeContents> nodes;
  for (int node = 0; node < cluster_->processes.size(); ++node) {
    nodes.push_back({ProcessCluster::Name(node), {}});
    const std::string error = ReadNode(cluster_->processes.Address(node), round->prefix,
                                       last->revision, &nodes.back().keys);
    if (error.empty()) continue;
    round->Violated({nodes.back().node + " cannot be read after everything was healed: " + error});
    nodes.pop_back();
  }
  return nodes;
}

void TortureRun::LookIntoLogs(Round* round) {
  for (int node = 0; node < cluster_->processes.size(); ++node) {
    const std::string path =
        cluster_->processes.directory().File(ProcessCluster::Name(node) + ".log");
    std::ifstream file(path, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(cluster_->log_read[node]));
    for (std::string line; std::getline(file, line);) {
      cluster_->log_read[node] += line.size() + 1;
      for (const char* words : kFatalWords) {
        if (line.find(words) == std::string::npos) continue;
        round->Violated({ProcessCluster::Name(node) + " says: " + line});
      }
    }
  }
}

void TortureRun::Judge(Round* round, std::vector<OpRecord> records) {
  const std::vector<NodeContents> nodes = ReadAll(round);
  round->Violated(CheckEverything(records, nodes));
  const std::string two_leaders = cluster_->watch.contradiction();
  if (!two_leaders.empty()) round->Violated({two_leaders});
  LookIntoLogs(round);
  report_.Count(records);
  for (const FaultRecord& fault : round->faults) {
    ++report_.faults[static_cast<size_t>(fault.kind)].tried;
  }
  Measure(*round, records);
  if (round->violations.empty()) return;
  if (round->violations.size() > kViolationsMax) round->violations.resize(kViolationsMax);
  report_.violations = round->violations;
  KeepEvidence(records);
}

void TortureRun::Measure(const Round& round, const std::vector<OpRecord>& records) {
  if (round.faults.empty() || Interrupted()) return;
  std::vector<uint64_t> acknowledged;
  for (const OpRecord& record : records) {
    const bool write = record.kind == OpKind::kPut || record.kind == OpKind::kDelete;
    if (write && record.outcome == OpOutcome::kOk) acknowledged.push_back(record.end_us);
  }
  acknowledged.push_back(round.end_us);
  std::sort(acknowledged.begin(), acknowledged.end());
  const auto longest_pause = [&](uint64_t from, uint64_t until) {
    uint64_t longest = 0;
    uint64_t last = from;
    for (const uint64_t us : acknowledged) {
      if (us <= from) continue;
      longest = std::max(longest, us - last);
      last = us;
      if (us > until) break;
    }
    return static_cast<double>(longest) / 1000;
  };
  const auto next = std::upper_bound(acknowledged.begin(), acknowledged.end(), round.healed_us);
  if (next != acknowledged.end()) {
    report_.healed.ms.push_back(static_cast<double>(*next - round.healed_us) / 1000);
  }
  const uint64_t until = round.healed_us + 1'000'000;
  double worst = 0;
  for (const FaultRecord& fault : round.faults) {
    const bool from_end = FactsOf(fault.kind).loses_quorum;
    const double pause = longest_pause(from_end ? fault.end_us : fault.begin_us, until);
    worst = std::max(worst, pause);
    if (round.faults.size() > 1) continue;
    report_.faults[static_cast<size_t>(fault.kind)].pauses.ms.push_back(pause);
  }
  (round.faults.size() > 1 ? report_.together : report_.alone).ms.push_back(worst);
}

void TortureRun::Tell(const Round& round, size_t operations) {
  if (!options_.progress) return;
  std::string faults;
  for (const FaultRecord& fault : round.faults) {
    faults +=
        fmt::format("{}{} {}", faults.empty() ? "" : " + ", FactsOf(fault.kind).name, fault.target);
  }
  const double now_s = static_cast<double>(SteadyMicros() - began_us_) / 1e6;
  options_.progress(fmt::format("{:4} {:6.0f} s  {:>7} operations  {}  {}", report_.rounds, now_s,
                                WithCommas(operations), faults,
                                round.violations.empty() ? "ok" : "VIOLATED"));
}

void TortureRun::KeepEvidence(const std::vector<OpRecord>& records) {
  cluster_->processes.Keep(true);
  report_.kept = cluster_->processes.directory().path();
  std::vector<const OpRecord*> sorted;
  for (const OpRecord& record : records) sorted.push_back(&record);
  std::sort(sorted.begin(), sorted.end(),
            [](const OpRecord* a, const OpRecord* b) { return a->begin_us < b->begin_us; });
  std::ofstream history(report_.kept + "/history.txt");
  for (const OpRecord* record : sorted) history << Describe(*record) << "\n";
  std::ofstream violations(report_.kept + "/violations.txt");
  for (const std::string& violation : report_.violations) violations << violation << "\n";
}

}  // namespace skein
