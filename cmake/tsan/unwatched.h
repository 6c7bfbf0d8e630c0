// For what libraries do that were built without the thread sanitizer.
#pragma once

extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();

// While one lives the sanitizer does not look at what its thread reads, writes, allocates and
// frees. Locks and other edges count as ever.
struct Unwatched {
  Unwatched() { __tsan_ignore_thread_begin(); }
  ~Unwatched() { __tsan_ignore_thread_end(); }
};
