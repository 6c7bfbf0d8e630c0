#include "common/low_priority.h"

#include <sys/resource.h>

#include <thread>

namespace skein {
namespace {

constexpr int kNice = 15;

}  // namespace

void AtLowPriority(absl::FunctionRef<void()> work) {
  std::thread([&work] {
    // Linux keeps it for each thread, and 0 stands for the one that calls. If it cannot be, the
    // work is done all the same.
    (void)setpriority(PRIO_PROCESS, 0, kNice);
    work();
  }).join();
}

}  // namespace skein
