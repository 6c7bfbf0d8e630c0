// Both cores belong to somebody else: a cluster that gets little of them elects nobody (R10).
// SKEIN_STARVE_SECONDS makes it longer.
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "tests/integration/checked_load.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

// Processes that do nothing but compute, until this object goes away.
class Burners {
 public:
  explicit Burners(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        volatile uint64_t n = 0;
        for (;;) n = n + 1;
      }
      if (pid > 0) pids_.push_back(pid);
    }
  }
  ~Burners() {
    for (const pid_t pid : pids_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> pids_;
};

TEST(StarvationTest, NoElectionWhileOthersHaveTheCores) {
  const char* wanted = std::getenv("SKEIN_STARVE_SECONDS");
  const std::chrono::seconds length(wanted == nullptr ? 10 : std::atoi(wanted));
  ProcessCluster cluster;
  const int leader = cluster.WaitForLeader();
  ASSERT_GE(leader, 0);
  const auto before = cluster.StatusOf(leader);
  ASSERT_TRUE(before.has_value());
  CheckedLoad load(cluster, "starved/", /*writers=*/2);
  ASSERT_TRUE(load.WaitForMore(10));
  size_t written = 0;
  {
    const Burners burners(std::max(1u, std::thread::hardware_concurrency()));
    const auto end = std::chrono::steady_clock::now() + length;
    while (std::chrono::steady_clock::now() < end) {
      ASSERT_TRUE(load.WaitForMore(1)) << "writes stopped";
      ++written;
      // It may be too busy to answer in time; a later answer shows an election as well.
      const auto now = cluster.StatusOf(leader);
      if (now.has_value()) {
        ASSERT_EQ(now->term, before->term) << "after " << written << " looks";
      }
    }
  }
  ASSERT_EQ(cluster.WaitForLeader(), leader);
  const auto after = cluster.StatusOf(leader);
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->term, before->term);
  load.Stop();
  load.ExpectOnEveryNode();
  RecordProperty("acknowledged", static_cast<int>(load.acknowledged()));
  std::printf("%zu writes acknowledged in %d s without an election\n", load.acknowledged(),
              static_cast<int>(length.count()));
}

}  // namespace
}  // namespace skein
