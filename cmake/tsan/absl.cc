// Tells the thread sanitizer when absl's locks are taken and given back, and who the last owner of
// a status is. The distribution's absl and gRPC are built without it; gRPC hands our objects from
// thread to thread under such locks.
// Linked into every binary of the tsan preset, where these definitions come before the library's,
// which they call.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "unwatched.h"

// In names of symbols: the inline namespace of Debian's build.
#define ABSL_SYMBOL(rest) "_ZN4absl7debian3" rest

namespace {

template <typename Function>
Function Real(const char* symbol) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) {
    std::fprintf(stderr, "absl's library has no %s (any more)\n", symbol);
    std::abort();
  }
  return reinterpret_cast<Function>(found);
}

using Take = void (*)(absl::Mutex*);
using TryTake = bool (*)(absl::Mutex*);

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto real = Real<Take>(ABSL_SYMBOL("5Mutex4LockEv"));
  real(this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static const auto real = Real<Take>(ABSL_SYMBOL("5Mutex6UnlockEv"));
  __tsan_release(this);
  real(this);
}

bool Mutex::TryLock() {
  static const auto real = Real<TryTake>(ABSL_SYMBOL("5Mutex7TryLockEv"));
  const bool taken = real(this);
  if (taken) __tsan_acquire(this);
  return taken;
}

void Mutex::ReaderLock() {
  static const auto real = Real<Take>(ABSL_SYMBOL("5Mutex10ReaderLockEv"));
  real(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static const auto real = Real<Take>(ABSL_SYMBOL("5Mutex12ReaderUnlockEv"));
  __tsan_release(this);
  real(this);
}

void CondVar::Wait(Mutex* mu) {
  static const auto real =
      Real<void (*)(CondVar*, Mutex*)>(ABSL_SYMBOL("7CondVar4WaitEPNS0_5MutexE"));
  __tsan_release(mu);
  real(this, mu);
  __tsan_acquire(mu);
}

bool CondVar::WaitWithTimeout(Mutex* mu, Duration timeout) {
  static const auto real = Real<bool (*)(CondVar*, Mutex*, Duration)>(
      ABSL_SYMBOL("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE"));
  __tsan_release(mu);
  const bool expired = real(this, mu, timeout);
  __tsan_acquire(mu);
  return expired;
}

bool CondVar::WaitWithDeadline(Mutex* mu, Time deadline) {
  static const auto real = Real<bool (*)(CondVar*, Mutex*, Time)>(
      ABSL_SYMBOL("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE"));
  __tsan_release(mu);
  const bool expired = real(this, mu, deadline);
  __tsan_acquire(mu);
  return expired;
}

void Status::UnrefNonInlined(uintptr_t rep) {
  static const auto real = Real<void (*)(uintptr_t)>(ABSL_SYMBOL("6Status15UnrefNonInlinedEm"));
  void* const owned = reinterpret_cast<void*>(rep);
  __tsan_release(owned);
  __tsan_acquire(owned);
  const Unwatched unwatched;
  real(rep);
}

ABSL_NAMESPACE_END
}  // namespace absl
