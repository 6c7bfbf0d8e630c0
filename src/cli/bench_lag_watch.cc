#include "cli/bench_lag_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "common/mutex.h"

namespace skein::cli {
namespace {

constexpr char kProbeKey[] = "bench-lag-probe";
constexpr std::chrono::microseconds kReadInterval(250);
constexpr std::chrono::milliseconds kDrainMax(2000);
constexpr std::chrono::milliseconds kDrainInterval(20);

}  // namespace

uint64_t MonotonicMicros() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

// Writes the probe at a steady rate and reads it from every follower. Each follower has a client
// that knows only that node.
class LagWatch::Probe {
 public:
  explicit Probe(const LagWatchOptions& options)
      : options_(options), readers_(options.followers.size()) {
    ClientOptions client;
    client.deadline = options.timeout;
    writer_ = Client::Connect(options.endpoints, client);
    client.discover = false;
    client.read_policy = ReadPolicy::kAny;
    for (size_t i = 0; i < readers_.size(); ++i) {
      readers_[i].client = Client::Connect({options.followers[i].address}, client);
    }
  }
  ~Probe() { End(); }

  void Start() {
    thread_ = std::thread([this] { Run(); });
  }

  // Completes what is under way.
  void Stop(LagObservations* into) {
    End();
    MutexLock lock(&mu_);
    into->probe_revisions = std::move(revisions_);
    into->probe_errors = errors_;
    into->probe_read_us = read_us_;
    for (Reader& reader : readers_) into->timelines.push_back(std::move(reader.timeline));
  }

 private:
  struct Reader {
    std::unique_ptr<Client> client;
    bool reading = false;
    VersionTimeline timeline;
  };

  void End() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
    writer_.reset();
    for (Reader& reader : readers_) reader.client.reset();
  }

  void Run() {
    const uint64_t interval_us = static_cast<uint64_t>(1e6 / options_.probes_per_second);
    uint64_t next_us = MonotonicMicros();
    while (!stopping_) {
      if (MonotonicMicros() >= next_us) {
        next_us = std::max(next_us + interval_us, MonotonicMicros());
        Write();
      }
      ReadWhereNeeded();
      std::this_thread::sleep_for(kReadInterval);
    }
    const uint64_t give_up_us = MonotonicMicros() + Micros(kDrainMax);
    while (ReadWhereNeeded() && MonotonicMicros() < give_up_us) {
      std::this_thread::sleep_for(kReadInterval);
    }
  }

  static uint64_t Micros(std::chrono::microseconds time) {
    return static_cast<uint64_t>(time.count());
  }

  void Write() {
    {
      MutexLock lock(&mu_);
      ++writing_;
    }
    writer_->PutAsync(kProbeKey, fmt::format("{:020d}", MonotonicMicros()), {},
                      [this](absl::StatusOr<PutResult> result) {
                        MutexLock lock(&mu_);
                        --writing_;
                        if (!result.ok()) {
                          ++errors_;
                          return;
                        }
                        newest_ = std::max(newest_, result->revision);
                        revisions_.push_back(result->revision);
                      });
  }

  // False: every follower has shown the newest write.
  bool ReadWhereNeeded() {
    bool needed = false;
    for (Reader& reader : readers_) {
      {
        MutexLock lock(&mu_);
        if (writing_ == 0 && reader.timeline.newest() >= newest_) continue;
        needed = true;
        if (reader.reading) continue;
        reader.reading = true;
      }
      ReadOptions options;
      options.consistency = Consistency::kAny;
      const uint64_t begin_us = MonotonicMicros();
      reader.client->GetAsync(kProbeKey, options,
                              [this, &reader, begin_us](absl::StatusOr<GetResult> result) {
                                OnRead(&reader, begin_us, result);
                              });
    }
    return needed;
  }

  void OnRead(Reader* reader, uint64_t begin_us, const absl::StatusOr<GetResult>& result) {
    const uint64_t now_us = MonotonicMicros();
    MutexLock lock(&mu_);
    reader->reading = false;
    if (!result.ok()) {
      ++errors_;
      return;
    }
    read_us_.Record(now_us - begin_us);
    if (result->has_value()) reader->timeline.Saw((*result)->version, now_us);
  }

  const LagWatchOptions options_;
  std::unique_ptr<Client> writer_;
  std::vector<Reader> readers_;  // all but `client` guarded by mu_
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  Mutex mu_;
  uint64_t writing_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t newest_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t errors_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> revisions_ ABSL_GUARDED_BY(mu_);
  Histogram read_us_ ABSL_GUARDED_BY(mu_);
};

// Asks every node for its status and its trace again and again.
class LagWatch::Sampler {
 public:
  explicit Sampler(const LagWatchOptions& options)
      : options_(options), client_(Client::Connect(options.endpoints)) {}
  ~Sampler() { Join(); }

  // From here on; what was written before is not fetched.
  void Start() {
    uint64_t revision = 0;
    const auto status = client_->Status(options_.timeout);
    if (status.ok()) {
      for (const NodeStatus& node : status->nodes) {
        if (node.id == options_.leader.id) revision = node.applied_revision;
      }
    }
    seen_.leader = TraceBook(revision);
    seen_.followers.assign(options_.followers.size(), TraceBook(revision));
    thread_ = std::thread([this] { Run(); });
  }

  LagObservations Stop() {
    Join();
    return std::move(seen_);
  }

 private:
  void Join() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }

  void Run() {
    auto next = std::chrono::steady_clock::now();
    while (!stopping_) {
      SampleStatus();
      FetchTraces();
      next = std::max(next + options_.sample_interval, std::chrono::steady_clock::now());
      std::this_thread::sleep_until(next);
    }
    const uint64_t give_up_us = MonotonicMicros() + static_cast<uint64_t>(kDrainMax.count()) * 1000;
    FetchTraces();
    while (!AllCaughtUp() && MonotonicMicros() < give_up_us) {
      std::this_thread::sleep_for(kDrainInterval);
      FetchTraces();
    }
  }

  void SampleStatus() {
    const auto status = client_->Status();
    const uint64_t now_us = MonotonicMicros();
    if (!status.ok()) {
      ++seen_.sample_errors;
      return;
    }
    if (status->leader_id != options_.leader.id) seen_.leader_changed = true;
    for (const NodeStatus& node : status->nodes) {
      if (!node.lag.has_value()) continue;
      for (size_t i = 0; i < options_.followers.size(); ++i) {
        if (options_.followers[i].id == node.id) seen_.samples.push_back({now_us, i, *node.lag});
      }
    }
  }

  void FetchTraces() {
    Fetch(options_.leader, &seen_.leader);
    for (size_t i = 0; i < options_.followers.size(); ++i) {
      Fetch(options_.followers[i], &seen_.followers[i]);
    }
  }

  void Fetch(const LagNode& node, TraceBook* book) {
    const auto trace = client_->Trace(node.address, book->after_revision());
    if (trace.ok()) {
      book->Add(trace->entries);
    } else {
      ++seen_.sample_errors;
    }
  }

  bool AllCaughtUp() const {
    if (seen_.leader.entries().empty()) return true;
    const uint64_t last = seen_.leader.entries().rbegin()->second.last_revision;
    return seen_.leader.after_revision() >= last &&
           std::all_of(seen_.followers.begin(), seen_.followers.end(),
                       [last](const TraceBook& book) { return book.after_revision() >= last; });
  }

  const LagWatchOptions options_;
  const std::unique_ptr<Client> client_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  LagObservations seen_;  // of the thread while it runs
};

LagWatch::LagWatch(const LagWatchOptions& options)
    : probe_(std::make_unique<Probe>(options)), sampler_(std::make_unique<Sampler>(options)) {}

LagWatch::~LagWatch() = default;

void LagWatch::Start() {
  sampler_->Start();
  probe_->Start();
}

LagObservations LagWatch::Stop() {
  LagObservations probed;
  probe_->Stop(&probed);
  LagObservations seen = sampler_->Stop();
  seen.probe_revisions = std::move(probed.probe_revisions);
  seen.timelines = std::move(probed.timelines);
  seen.probe_read_us = probed.probe_read_us;
  seen.probe_errors = probed.probe_errors;
  return seen;
}

absl::Status CheckOneClock(Client* client, const LagNode& leader,
                           const std::vector<LagNode>& followers) {
  const uint64_t begin_us = MonotonicMicros();
  const auto put = client->Put(kProbeKey, "");
  if (!put.ok()) return put.status();
  std::vector<LagNode> nodes = followers;
  nodes.insert(nodes.begin(), leader);
  for (const LagNode& node : nodes) {
    TraceBook book(put->revision - 1);
    const EntryStages* entry = nullptr;
    while (entry == nullptr && MonotonicMicros() < begin_us + 5'000'000) {
      const auto trace = client->Trace(node.address, book.after_revision());
      if (!trace.ok()) return trace.status();
      book.Add(trace->entries);
      entry = book.FindRevision(put->revision);
      if (entry == nullptr) std::this_thread::sleep_for(kDrainInterval);
    }
    if (entry == nullptr) {
      return absl::UnavailableError(fmt::format("{} did not receive a write within 5 s", node.id));
    }
    if (entry->appended_us < begin_us || entry->appended_us > MonotonicMicros()) {
      return absl::FailedPreconditionError(fmt::format(
          "the clock of {} at {} is not this host's: one-way lag can only be measured where all "
          "nodes and this program run on one host",
          node.id, node.address));
    }
  }
  return absl::OkStatus();
}

}  // namespace skein::cli
