#include "server/stop_guard.h"

#include <gtest/gtest.h>

#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

std::unique_ptr<Logger> NewLogger() { return std::move(Logger::Create({}, "n1").value()); }

// What a process does that is told to stop and does not.
void HangOn(const std::vector<milliseconds>& allowed) {
  const auto logger = NewLogger();
  StopGuard guard("/data/n1", logger.get());
  for (const milliseconds time : allowed) guard.Allow(time);
  WaitUntil(seconds(20), [] { return false; });
  std::_Exit(0);
}

TEST(StopGuardDeathTest, EndsAProcessThatDoesNotStopInTime) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(HangOn({milliseconds(50)}), testing::ExitedWithCode(1),
              "could not stop in time, .* the disk of /data/n1 does not finish a write");
  EXPECT_EXIT(HangOn({minutes(10), milliseconds(50)}), testing::ExitedWithCode(1), "in time");
  EXPECT_EXIT(HangOn({milliseconds(50), minutes(10)}), testing::ExitedWithCode(1), "in time");
}

TEST(StopGuardTest, LetsAProcessBeThatStopsInTime) {
  const auto logger = NewLogger();
  { const StopGuard never_asked("/data/n1", logger.get()); }
  StopGuard guard("/data/n1", logger.get());
  guard.Allow(minutes(10));
}

}  // namespace
}  // namespace skein
