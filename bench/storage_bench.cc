// What the parts of storage cost on this machine: log append with sync, apply, point get.
//
//   storage_bench DIRECTORY [keys]
//
// DIRECTORY must not exist; it is created and left behind for inspection.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "common/random.h"
#include "replication/command.h"
#include "storage/kv_state_machine.h"
#include "storage/rocks_log_store.h"

namespace skein {
namespace {

double NowMicros() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Lets one thread wait for the completions of the other.
class WaitingSink final : public EventSink {
 public:
  void Post(Event event) override {
    MutexLock lock(&mu_);
    if (const auto* done = std::get_if<Persisted>(&event)) persisted_ = done->id;
    if (const auto* done = std::get_if<Applied>(&event)) applied_ = done->index;
    if (const auto* failed = std::get_if<StorageFailed>(&event)) {
      std::fprintf(stderr, "%s\n", failed->status.ToString().c_str());
      std::exit(1);
    }
    changed_.SignalAll();
  }
  void WaitPersisted(uint64_t id) {
    MutexLock lock(&mu_);
    while (persisted_ < id) changed_.Wait(&mu_);
  }
  void WaitApplied(Index index) {
    MutexLock lock(&mu_);
    while (applied_ < index) changed_.Wait(&mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  uint64_t persisted_ ABSL_GUARDED_BY(mu_) = 0;
  Index applied_ ABSL_GUARDED_BY(mu_);
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

std::string Key(uint64_t number) {
  char key[17];
  std::snprintf(key, sizeof(key), "key-%012llu", static_cast<unsigned long long>(number));
  return std::string(key, 16);
}

EntryPtr PutsEntry(const LogPoint& previous, Random* random, uint64_t keys, uint32_t count) {
  const std::string value(100, 'v');
  std::string batch;
  for (uint32_t i = 0; i < count; ++i) AppendPut(&batch, Key(random->Below(keys)), value);
  return Entry::Build(previous, Term(1), EntryType::kCommands, count, 0, batch);
}

void PrintPercentiles(const char* what, std::vector<double> micros) {
  std::sort(micros.begin(), micros.end());
  const auto at = [&](double p) { return micros[static_cast<size_t>(p * (micros.size() - 1))]; };
  std::printf("%s: p50 %.0f us, p95 %.0f us, p99 %.0f us\n", what, at(0.5), at(0.95), at(0.99));
}

void BenchLog(const std::string& directory) {
  WaitingSink sink;
  auto log = OrDie(RocksLogStore::Open({}, directory, {}));
  LogPoint last = OrDie(log->Recover()).last;
  log->Start(&sink);
  Random random(1);
  uint64_t id = 0;
  HardState hard_state{.term = Term(1)};
  std::vector<double> micros;
  for (int i = 0; i < 2000; ++i) {
    const EntryPtr entry = PutsEntry(last, &random, 1'000'000, 66);  // 8 KiB
    last = entry->point();
    hard_state.commit = last.at.index;
    const double start = NowMicros();
    log->Write({.id = ++id, .hard_state = hard_state, .entries = {entry}});
    sink.WaitPersisted(id);
    micros.push_back(NowMicros() - start);
  }
  PrintPercentiles("log: append and sync one entry of 8 KiB", std::move(micros));
}

// Applies `entries` entries of 64 puts, so many at once, and prints what a put took.
void BenchApply(KvStateMachine* state, WaitingSink* sink, Random* random, uint64_t keys,
                LogPoint* last, int entries, int at_once) {
  constexpr uint32_t kPuts = 64;
  double busy = 0;
  double cpu = 0;
  for (int done = 0; done < entries;) {
    std::vector<EntryPtr> batch;
    for (int i = 0; i < at_once; ++i, ++done) {
      batch.push_back(PutsEntry(*last, random, keys, kPuts));
      *last = batch.back()->point();
    }
    const double start = NowMicros();
    const std::clock_t cpu_start = std::clock();
    state->Apply(std::move(batch));
    sink->WaitApplied(last->at.index);
    busy += NowMicros() - start;
    cpu += 1e6 * static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  }
  std::printf(
      "state: apply entries of %u puts, %d at once: %.2f us per put, %.2f us of all cores\n", kPuts,
      at_once, busy / entries / kPuts, cpu / entries / kPuts);
}

void BenchState(const std::string& directory, uint64_t keys) {
  WaitingSink sink;
  auto state = OrDie(KvStateMachine::Open({}, directory));
  state->Start(&sink);
  Random random(2);
  LogPoint last;
  for (const int at_once : {1, 4, 20}) {
    BenchApply(state.get(), &sink, &random, keys, &last, 20'000, at_once);
  }
  constexpr int kGets = 500'000;
  for (const char* when : {"some of it in memory", "all of it in table files"}) {
    uint64_t found = 0;
    const double start = NowMicros();
    for (int i = 0; i < kGets; ++i) {
      found += OrDie(state->Get(Key(random.Below(keys)))).has_value();
    }
    const double micros = NowMicros() - start;
    std::printf("state: get, %s: %.2f us, %.0f K/s, %.1f %% found\n", when, micros / kGets,
                kGets / micros * 1000, 100.0 * static_cast<double>(found) / kGets);
    if (!state->Flush().ok()) std::exit(1);
  }
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: storage_bench DIRECTORY [keys]\n");
    return 2;
  }
  const std::string directory = argv[1];
  if (std::system(("mkdir '" + directory + "'").c_str()) != 0) return 1;
  skein::BenchLog(directory);
  skein::BenchState(directory, argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000);
  return 0;
}
