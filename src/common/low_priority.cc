#include "common/low_priority.h"

#include <sys/resource.h>

namespace skein {
namespace {

constexpr int kNice = 15;

}  // namespace

// Linux keeps it for each thread, and 0 stands for the one that calls. If it cannot be, the work is
// done all the same.
void GiveWay() { (void)setpriority(PRIO_PROCESS, 0, kNice); }

}  // namespace skein
