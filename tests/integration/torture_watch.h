// Asks every node of a cluster, all the while, which term it is in and who leads.
//
// Thread-safe; the watching goes on until the object goes away. Nodes that do not answer are passed
// over.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace skein {

class TortureWatch {
 public:
  explicit TortureWatch(const std::vector<std::string>& addresses);
  ~TortureWatch();

  // The node that leads the newest term, from 0; -1: nobody is known to.
  int leader();
  uint64_t term();  // the newest that was heard of
  // Two nodes that led one term; empty: there are none.
  std::string contradiction();

 private:
  void Watch(const std::string& address);

  std::atomic<bool> stopping_{false};
  Mutex mu_;
  uint64_t term_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, std::string> leaders_ ABSL_GUARDED_BY(mu_);  // by term
  std::string contradiction_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace skein
