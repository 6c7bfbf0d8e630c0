// Clients that write and read all the while, and record every operation.
//
// Few keys that everybody writes, deletes and reads, and many that are written once; every value is
// written once only. Beside that a pulse: a write every ten milliseconds, whatever became of those
// before, so that one can see from when to when no write got through.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "common/random.h"
#include "skein/client.h"
#include "tests/integration/torture_checks.h"

namespace skein {

uint64_t SteadyMicros();

struct TortureLoadOptions {
  std::string prefix;  // of all keys, and no other load's
  uint64_t seed = 1;
  int threads_per_client = 3;
  int shared_keys = 24;
  std::chrono::milliseconds deadline{2000};
};

// Thread-safe. Starts at once.
class TortureLoad {
 public:
  // The clients outlive the load. The last of them writes the pulse, the others do the rest.
  TortureLoad(const std::vector<std::unique_ptr<Client>>& clients,
              const TortureLoadOptions& options);
  ~TortureLoad();

  uint64_t acknowledged() const { return acknowledged_; }
  // Waits for the calls that are under way, and hands over all records.
  std::vector<OpRecord> Stop();

 private:
  class Worker;
  struct Pulse;

  void RunPulse(Client* client);

  const TortureLoadOptions options_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> acknowledged_{0};
  std::vector<std::unique_ptr<Worker>> workers_;
  std::shared_ptr<Pulse> pulse_;
  std::vector<std::thread> threads_;
};

}  // namespace skein
