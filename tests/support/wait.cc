#include "tests/support/wait.h"

#include <thread>

namespace skein {

bool WaitUntil(std::chrono::milliseconds timeout, const std::function<bool()>& condition) {
  constexpr std::chrono::milliseconds kPause{5};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace skein
