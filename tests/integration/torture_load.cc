#include "tests/integration/torture_load.h"

#include <utility>

#include "common/check.h"
#include "skein/error.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPulseInterval{10};
constexpr int kPulsesUnderWayMax = 200;
constexpr milliseconds kPulseDeadline{1000};
constexpr size_t kLargeValue = 8 << 10;
constexpr size_t kRecentKeys = 32;

OpOutcome OutcomeOf(const absl::Status& status) {
  if (status.ok()) return OpOutcome::kOk;
  const bool open = absl::IsUnknown(status) || DetailOf(status).maybe_applied;
  return open ? OpOutcome::kUnknown : OpOutcome::kRefused;
}

OpRecord NewPut(std::string key, std::string value, std::string who) {
  OpRecord record;
  record.kind = OpKind::kPut;
  record.key = std::move(key);
  record.value = std::move(value);
  record.who = std::move(who);
  record.begin_us = SteadyMicros();
  return record;
}

void Conclude(const absl::Status& status, OpRecord* record) {
  record->end_us = SteadyMicros();
  record->outcome = OutcomeOf(status);
  if (!status.ok()) record->error = status.ToString();
}

}  // namespace

uint64_t SteadyMicros() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

// One thread's share of the load. Its records belong to that thread until it has ended.
class TortureLoad::Worker {
 public:
  Worker(TortureLoad* load, Client* client, std::string who)
      : load_(load),
        client_(client),
        who_(std::move(who)),
        random_(Random(load->options_.seed).Fork(who_)) {}

  void Run() {
    while (!load_->stopping_) {
      const uint64_t dice = random_.Below(100);
      if (dice < 22) {
        PutOwn();
      } else if (dice < 44) {
        Put(SharedKey());
      } else if (dice < 50) {
        Delete(SharedKey());
      } else if (dice < 74) {
        Get(OpKind::kGetLinearizable, SharedKey());
      } else if (dice < 80) {
        Get(OpKind::kGetOwn, SharedKey());
      } else if (dice < 86) {
        Get(OpKind::kGetOwn, RecentKey());
      } else if (dice < 94) {
        Get(OpKind::kGetBounded, SharedKey());
      } else {
        Get(OpKind::kGetAny, SharedKey());
      }
    }
  }
  std::vector<OpRecord> TakeRecords() { return std::move(records_); }

 private:
  std::string SharedKey() {
    return load_->options_.prefix + "shared/" +
           std::to_string(random_.Below(load_->options_.shared_keys));
  }
  std::string RecentKey() {
    return recent_.empty() ? SharedKey() : recent_[random_.Below(recent_.size())];
  }

  void PutOwn() {
    const std::string key =
        load_->options_.prefix + "own/" + who_ + "/" + std::to_string(records_.size());
    Put(key);
    if (recent_.size() < kRecentKeys) {
      recent_.push_back(key);
    } else {
      recent_[random_.Below(kRecentKeys)] = key;
    }
  }

  WriteOptions Writing() {
    WriteOptions options;
    options.deadline = load_->options_.deadline;
    if (random_.Below(32) == 0) {
      options.ack = Ack::kAll;
      options.all_wait = milliseconds(200);
    }
    return options;
  }

  void Put(const std::string& key) {
    std::string value = load_->options_.prefix + who_ + "#" + std::to_string(records_.size());
    if (random_.Below(64) == 0) value += std::string(kLargeValue, '.');
    OpRecord record = NewPut(key, std::move(value), who_);
    const absl::StatusOr<PutResult> put = client_->Put(key, record.value, Writing());
    Conclude(put.status(), &record);
    if (put.ok()) record.revision = put->revision;
    Keep(std::move(record));
  }

  void Delete(const std::string& key) {
    OpRecord record;
    record.kind = OpKind::kDelete;
    record.key = key;
    record.who = who_;
    record.begin_us = SteadyMicros();
    const absl::StatusOr<DeleteResult> erased = client_->Delete(key, Writing());
    Conclude(erased.status(), &record);
    if (erased.ok()) record.revision = erased->revision;
    Keep(std::move(record));
  }

  void Get(OpKind kind, const std::string& key) {
    ReadOptions options;
    options.deadline = load_->options_.deadline;
    options.policy = static_cast<ReadPolicy>(random_.Below(3));
    OpRecord record;
    record.kind = kind;
    record.key = key;
    record.who = who_;
    if (kind == OpKind::kGetOwn) {
      options.consistency = Consistency::kOwnWrites;
      record.at_least = client_->token();
    } else if (kind == OpKind::kGetBounded) {
      const uint64_t bound_ms = random_.Between(150, 1000);
      options.consistency = Consistency::kBounded;
      options.max_staleness = milliseconds(bound_ms);
      record.bound_us = bound_ms * 1000;
    } else {
      options.consistency =
          kind == OpKind::kGetAny ? Consistency::kAny : Consistency::kLinearizable;
    }
    record.begin_us = SteadyMicros();
    absl::StatusOr<GetResult> got = client_->Get(key, options);
    Conclude(got.status(), &record);
    if (got.ok()) {
      record.node = got->by.node_id;
      record.applied = got->by.applied_revision;
      record.found = got->has_value();
      if (record.found) {
        record.revision = (*got)->version;
        record.value = std::move(got->item->value);
      }
    }
    Keep(std::move(record));
  }

  void Keep(OpRecord record) {
    const bool write = record.kind == OpKind::kPut || record.kind == OpKind::kDelete;
    if (write && record.outcome == OpOutcome::kOk) ++load_->acknowledged_;
    records_.push_back(std::move(record));
  }

  TortureLoad* const load_;
  Client* const client_;
  const std::string who_;
  Random random_;
  std::vector<OpRecord> records_;
  std::vector<std::string> recent_;  // keys of its own that it wrote not long ago
};

// Shared with callbacks, which may come late.
struct TortureLoad::Pulse {
  Mutex mu;
  int under_way = 0;              // guarded by mu
  std::vector<OpRecord> records;  // the same
};

TortureLoad::TortureLoad(const std::vector<std::unique_ptr<Client>>& clients,
                         const TortureLoadOptions& options)
    : options_(options), pulse_(std::make_shared<Pulse>()) {
  SKEIN_CHECK(clients.size() >= 2);
  for (size_t client = 0; client + 1 < clients.size(); ++client) {
    for (int thread = 0; thread < options_.threads_per_client; ++thread) {
      workers_.push_back(std::make_unique<Worker>(
          this, clients[client].get(),
          "c" + std::to_string(client + 1) + "." + std::to_string(thread + 1)));
    }
  }
  for (const auto& worker : workers_) {
    threads_.emplace_back([worker = worker.get()] { worker->Run(); });
  }
  threads_.emplace_back([this, client = clients.back().get()] { RunPulse(client); });
}

TortureLoad::~TortureLoad() { Stop(); }

void TortureLoad::RunPulse(Client* client) {
  WriteOptions options;
  options.deadline = kPulseDeadline;
  for (int beat = 0; !stopping_; ++beat) {
    WaitUntil(kPulseInterval, [this] { return stopping_.load(); });
    {
      MutexLock lock(&pulse_->mu);
      if (pulse_->under_way >= kPulsesUnderWayMax) continue;
      ++pulse_->under_way;
    }
    const std::string key = options_.prefix + "pulse/" + std::to_string(beat);
    OpRecord record = NewPut(key, key, "pulse");
    client->PutAsync(key, record.value, options,
                     [this, pulse = pulse_, record](const absl::StatusOr<PutResult>& put) mutable {
                       Conclude(put.status(), &record);
                       if (put.ok()) record.revision = put->revision;
                       MutexLock lock(&pulse->mu);
                       if (put.ok()) ++acknowledged_;
                       pulse->records.push_back(std::move(record));
                       --pulse->under_way;
                     });
  }
  WaitUntil(10 * kPulseDeadline, [this] {
    MutexLock lock(&pulse_->mu);
    return pulse_->under_way == 0;
  });
}

std::vector<OpRecord> TortureLoad::Stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  std::vector<OpRecord> all;
  for (const auto& worker : workers_) {
    std::vector<OpRecord> records = worker->TakeRecords();
    std::move(records.begin(), records.end(), std::back_inserter(all));
  }
  MutexLock lock(&pulse_->mu);
  SKEIN_CHECK(pulse_->under_way == 0);  // the client answers shortly after the deadline
  std::move(pulse_->records.begin(), pulse_->records.end(), std::back_inserter(all));
  pulse_->records.clear();
  return all;
}

}  // namespace skein
