#include "cli/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "cli/command.h"
#include "common/mutex.h"

namespace skein::cli {
namespace {

constexpr std::chrono::milliseconds kTickInterval(10);
constexpr std::chrono::microseconds kPaceInterval(100);
constexpr uint64_t kGraceMicros = 300'000;
constexpr int kPreloadRounds = 5;

uint64_t NowMicros() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

// xorshift64*: what a caller draws must cost next to nothing.
uint64_t Draw(uint64_t* state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1dull;
}

// Values that no compression makes smaller, so that what is written is as much as it says.
class Values {
 public:
  explicit Values(size_t bytes) : bytes_(bytes), pool_(bytes + kPoolBytes, '\0') {
    uint64_t state = 1;
    for (char& byte : pool_) byte = static_cast<char>(Draw(&state) >> 56);
  }
  std::string_view Of(uint64_t random) const {
    return std::string_view(pool_).substr(random * kFewPlacesAlike % kPoolBytes, bytes_);
  }

 private:
  static constexpr size_t kPoolBytes = 1 << 20;
  static constexpr uint64_t kFewPlacesAlike = 7919;  // neighbours do not overlap much

  const size_t bytes_;
  std::string pool_;
};

std::string ReasonOf(const absl::Status& status) {
  const ErrorReason reason = DetailOf(status).reason;
  return reason == ErrorReason::kNone ? absl::StatusCodeToString(status.code())
                                      : ErrorReasonName(reason);
}

// One client object with its callers. Everything but the atomics belongs to the client's callback
// thread once the load runs.
class Connection {
 public:
  Connection(const LoadOptions& options, std::unique_ptr<Client> client, uint64_t seed)
      : options_(options),
        values_(options.value_bytes),
        client_(std::move(client)),
        random_(seed | 1) {}

  void SetWindow(uint64_t begin_us, uint64_t end_us) {
    begin_us_ = begin_us;
    end_us_ = end_us;
  }

  // Begins one call. With `chain`, its answer begins the next, until the end.
  void Issue(uint64_t intended_us, uint64_t random, bool chain) {
    in_flight_.fetch_add(1, std::memory_order_relaxed);
    const std::string key = LoadKey(random % options_.keys);
    if (static_cast<int>((random >> 40) % 100) < options_.read_percent) {
      client_->GetAsync(key, options_.read,
                        [this, intended_us, chain](absl::StatusOr<GetResult> result) {
                          if (result.ok() && !result->has_value()) ++not_found_;
                          OnAnswer(intended_us, chain, result.status(), &result_.reads);
                        });
    } else {
      client_->PutAsync(key, values_.Of(random), options_.write,
                        [this, intended_us, chain](absl::StatusOr<PutResult> result) {
                          OnAnswer(intended_us, chain, result.status(), &result_.writes);
                        });
    }
  }

  // Callers whose last call failed rest until this is called, so that errors do not spin.
  void RestartResting() {
    const int resting = resting_.exchange(0);
    for (int i = 0; i < resting; ++i)
      Issue(NowMicros(), restart_random_ += 0x9e3779b97f4a7c15ull, true);
  }

  void Stop() { stopped_ = true; }
  uint64_t in_flight() const { return in_flight_.load(); }
  uint64_t done() const { return done_.load(); }
  uint64_t failed() const { return failed_.load(); }

  // After the last answer.
  LoadResult TakeResult() {
    client_.reset();
    result_.not_found = not_found_;
    return std::move(result_);
  }

 private:
  void OnAnswer(uint64_t intended_us, bool chain, const absl::Status& status, uint64_t* counter) {
    const uint64_t now = NowMicros();
    const bool counted = intended_us >= begin_us_ && intended_us < end_us_;
    if (!status.ok()) {
      failed_.fetch_add(1, std::memory_order_relaxed);
      if (counted) {
        ++result_.errors;
        ++result_.errors_by_reason[ReasonOf(status)];
      }
    } else {
      done_.fetch_add(1, std::memory_order_relaxed);
      if (counted) {
        ++*counter;
        result_.latency_us.Record(now - intended_us);
        if (last_success_us_ != 0) {
          result_.longest_gap_us = std::max(result_.longest_gap_us, now - last_success_us_);
        }
        last_success_us_ = now;
      }
    }
    if (chain && !stopped_ && now < end_us_) {
      if (status.ok()) {
        Issue(now, Draw(&random_), true);
      } else {
        resting_.fetch_add(1);
      }
    }
    in_flight_.fetch_sub(1, std::memory_order_release);
  }

  const LoadOptions& options_;
  const Values values_;
  std::unique_ptr<Client> client_;
  uint64_t begin_us_ = 0;
  uint64_t end_us_ = 0;
  uint64_t random_;
  uint64_t restart_random_ = 0;  // of the thread that restarts
  uint64_t not_found_ = 0;
  uint64_t last_success_us_ = 0;
  LoadResult result_;
  std::atomic<uint64_t> in_flight_{0};
  std::atomic<uint64_t> done_{0};
  std::atomic<uint64_t> failed_{0};
  std::atomic<int> resting_{0};
  std::atomic<bool> stopped_{false};
};

using Connections = std::vector<std::unique_ptr<Connection>>;

LoadProgress ProgressOf(const Connections& connections, uint64_t begin_us) {
  LoadProgress progress;
  progress.seconds = (static_cast<double>(NowMicros()) - static_cast<double>(begin_us)) / 1e6;
  for (const auto& connection : connections) {
    progress.done += connection->done();
    progress.errors += connection->failed();
  }
  return progress;
}

uint64_t InFlight(const Connections& connections) {
  uint64_t sum = 0;
  for (const auto& connection : connections) sum += connection->in_flight();
  return sum;
}

// Returns when the load ended.
uint64_t DriveClosed(const LoadOptions& options, Connections* connections, uint64_t begin_us,
                     uint64_t end_us, const std::function<bool(const LoadProgress&)>& tick) {
  uint64_t random = begin_us | 1;
  for (int i = 0; i < options.clients; ++i) {
    (*connections)[static_cast<size_t>(i) % connections->size()]->Issue(NowMicros(), Draw(&random),
                                                                        true);
  }
  while (NowMicros() < end_us) {
    if (!tick(ProgressOf(*connections, begin_us))) break;
    std::this_thread::sleep_for(kTickInterval);
    for (auto& connection : *connections) connection->RestartResting();
  }
  return std::min(NowMicros(), end_us);
}

uint64_t DriveOpen(const LoadOptions& options, Connections* connections, uint64_t start_us,
                   uint64_t begin_us, uint64_t end_us,
                   const std::function<bool(const LoadProgress&)>& tick) {
  const double interval_us = 1e6 / options.rate;
  uint64_t random = begin_us | 1;
  uint64_t next = 0;
  uint64_t next_tick_us = 0;
  while (true) {
    const uint64_t now = NowMicros();
    if (now >= end_us) break;
    if (now >= next_tick_us) {
      next_tick_us = now + 10'000;
      if (!tick(ProgressOf(*connections, begin_us))) break;
    }
    const bool room = InFlight(*connections) < options.in_flight_max;
    while (room) {
      const uint64_t intended =
          start_us + static_cast<uint64_t>(static_cast<double>(next) * interval_us);
      if (intended > now || intended >= end_us) break;
      (*connections)[next % connections->size()]->Issue(intended, Draw(&random), false);
      ++next;
      if (next % 256 == 0) break;  // look at the clock and the room again
    }
    const uint64_t due = start_us + static_cast<uint64_t>(static_cast<double>(next) * interval_us);
    if (due > now || !room) {
      const auto rest = room ? std::chrono::microseconds(due - now) : kPaceInterval;
      std::this_thread::sleep_for(
          std::clamp(rest, kPaceInterval, std::chrono::microseconds(kTickInterval)));
    }
  }
  return std::min(NowMicros(), end_us);
}

// Writes of keys, some at a time.
class Preloading {
 public:
  Preloading(Client* client, const LoadOptions& options)
      : client_(client),
        options_(options),
        values_(options.value_bytes),
        in_flight_max_(std::clamp<uint64_t>((8 << 20) / (options.value_bytes + 1), 1, 256)) {}

  // False: it is of no use to go on.
  bool Write(uint64_t n) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      while (in_flight_ >= in_flight_max_) answered_.Wait(&mu_);
      if (!failure_.ok() || Interrupted()) return false;
      ++in_flight_;
    }
    client_->PutAsync(
        LoadKey(n), values_.Of(n), options_.write,
        [this, n](absl::StatusOr<PutResult> result) { OnAnswer(n, result.status()); });
    return true;
  }

  // All of them; returns the keys of whose writes the outcome is unknown.
  std::vector<uint64_t> AwaitAnswers() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    while (in_flight_ > 0) answered_.Wait(&mu_);
    return std::exchange(unknown_, {});
  }

  // Why not everything was written, `unknown` being left.
  absl::Status Failure(const std::vector<uint64_t>& unknown) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return failure_.ok() && !unknown.empty() ? last_unknown_ : failure_;
  }

 private:
  void OnAnswer(uint64_t n, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    --in_flight_;
    answered_.Signal();
    if (DetailOf(status).reason == ErrorReason::kOutcomeUnknown) {
      unknown_.push_back(n);
      last_unknown_ = status;
    } else {
      failure_.Update(status);
    }
  }

  Client* const client_;
  const LoadOptions& options_;
  const Values values_;
  const uint64_t in_flight_max_;
  Mutex mu_;
  CondVar answered_;
  uint64_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> unknown_ ABSL_GUARDED_BY(mu_);
  absl::Status last_unknown_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::string LoadKey(uint64_t n) { return fmt::format("bench-{:010d}", n); }

LoadResult RunLoad(const LoadOptions& options,
                   const std::function<std::unique_ptr<Client>()>& connect,
                   const std::function<bool(const LoadProgress&)>& tick) {
  Connections connections;
  for (int i = 0; i < options.connections; ++i) {
    connections.push_back(std::make_unique<Connection>(
        options, connect(), NowMicros() * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(i)));
  }
  const uint64_t start_us = NowMicros();
  const uint64_t begin_us = start_us + static_cast<uint64_t>(options.warmup_seconds * 1e6);
  const uint64_t end_us = begin_us + static_cast<uint64_t>(options.duration_seconds * 1e6);
  for (auto& connection : connections) connection->SetWindow(begin_us, end_us);
  const uint64_t ended_us = options.rate > 0
                                ? DriveOpen(options, &connections, start_us, begin_us, end_us, tick)
                                : DriveClosed(options, &connections, begin_us, end_us, tick);
  for (auto& connection : connections) connection->Stop();
  // Every call has a deadline, so this ends. Whoever stops it early is not kept waiting, but what
  // would be answered at once is no error.
  const uint64_t grace_until_us = NowMicros() + kGraceMicros;
  while (InFlight(connections) > 0 &&
         (tick(ProgressOf(connections, begin_us)) || NowMicros() < grace_until_us)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  LoadResult sum;
  for (auto& connection : connections) {
    const LoadResult one = connection->TakeResult();
    sum.reads += one.reads;
    sum.writes += one.writes;
    sum.not_found += one.not_found;
    sum.errors += one.errors;
    for (const auto& [reason, count] : one.errors_by_reason) sum.errors_by_reason[reason] += count;
    sum.latency_us.Merge(one.latency_us);
    sum.longest_gap_us = std::max(sum.longest_gap_us, one.longest_gap_us);
  }
  sum.seconds = ended_us > begin_us ? static_cast<double>(ended_us - begin_us) / 1e6 : 0;
  return sum;
}

absl::Status Preload(Client* client, const LoadOptions& options,
                     const std::function<void(uint64_t)>& tick) {
  Preloading preloading(client, options);
  for (uint64_t n = 0; n < options.keys && preloading.Write(n); ++n) tick(n);
  std::vector<uint64_t> unknown = preloading.AwaitAnswers();
  for (int round = 1; round < kPreloadRounds && !unknown.empty(); ++round) {
    for (const uint64_t n : unknown) {
      if (!preloading.Write(n)) break;
    }
    unknown = preloading.AwaitAnswers();
  }
  return preloading.Failure(unknown);
}

}  // namespace skein::cli
