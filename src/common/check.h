// Checks for bugs. They stay on in release builds: a node that is wrong about its own state must
// stop rather than answer. What comes from outside (network, disk, user) is never checked this way.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace skein {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace skein

#define SKEIN_CHECK(condition)                         \
  (static_cast<bool>(condition) ? static_cast<void>(0) \
                                : ::skein::CheckFailed(__FILE__, __LINE__, #condition))
