// What RocksDB's archive calls in the tsan preset instead of the functions that copy, compare,
// allocate, read and write. The sanitizer watches these wherever they are called, but not the
// atomics by which RocksDB, built without it, hands memory from thread to thread. RocksDB's locks
// and threads are watched as ever, and so is our code when RocksDB calls it.
#include <pthread.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "unwatched.h"

extern "C" {

void* unwatched_memcpy(void* to, const void* from, size_t size) {
  Unwatched unwatched;
  return std::memcpy(to, from, size);
}

void* unwatched_memmove(void* to, const void* from, size_t size) {
  Unwatched unwatched;
  return std::memmove(to, from, size);
}

void* unwatched_memset(void* to, int byte, size_t size) {
  Unwatched unwatched;
  return std::memset(to, byte, size);
}

int unwatched_memcmp(const void* a, const void* b, size_t size) {
  Unwatched unwatched;
  return std::memcmp(a, b, size);
}

size_t unwatched_strlen(const char* text) {
  Unwatched unwatched;
  return std::strlen(text);
}

int unwatched_strcmp(const char* a, const char* b) {
  Unwatched unwatched;
  return std::strcmp(a, b);
}

ssize_t unwatched_pread(int file, void* to, size_t size, off_t offset) {
  Unwatched unwatched;
  return pread(file, to, size, offset);
}

ssize_t unwatched_pwrite(int file, const void* from, size_t size, off_t offset) {
  Unwatched unwatched;
  return pwrite(file, from, size, offset);
}

ssize_t unwatched_write(int file, const void* from, size_t size) {
  Unwatched unwatched;
  return write(file, from, size);
}

size_t unwatched_fread_unlocked(void* to, size_t size, size_t count, FILE* file) {
  Unwatched unwatched;
  return std::fread(to, size, count, file);
}

void* unwatched_malloc(size_t size) {
  Unwatched unwatched;
  return std::malloc(size);
}

void unwatched_free(void* block) {
  Unwatched unwatched;
  std::free(block);
}

// Locks and conditions lie in memory that is handed from thread to thread as well. That they are
// taken and given back still counts.
int unwatched_pthread_mutex_lock(pthread_mutex_t* mutex) {
  Unwatched unwatched;
  return pthread_mutex_lock(mutex);
}

int unwatched_pthread_mutex_unlock(pthread_mutex_t* mutex) {
  Unwatched unwatched;
  return pthread_mutex_unlock(mutex);
}

void unwatched__ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(
    std::condition_variable* condition, std::unique_lock<std::mutex>* lock) {
  Unwatched unwatched;
  condition->wait(*lock);
}

void unwatched__ZNSt18condition_variable10notify_oneEv(std::condition_variable* condition) {
  Unwatched unwatched;
  condition->notify_one();
}

void unwatched__ZNSt18condition_variable10notify_allEv(std::condition_variable* condition) {
  Unwatched unwatched;
  condition->notify_all();
}

void unwatched__ZNSt18condition_variableD1Ev(std::condition_variable* condition) {
  Unwatched unwatched;
  condition->~condition_variable();
}

// operator new, new[], delete and delete[], by their mangled names.
void* unwatched__Znwm(size_t size) {
  Unwatched unwatched;
  return operator new(size);
}

void* unwatched__Znam(size_t size) {
  Unwatched unwatched;
  return operator new[](size);
}

void unwatched__ZdlPvm(void* block, size_t) {
  Unwatched unwatched;
  operator delete(block);
}

void unwatched__ZdaPv(void* block) {
  Unwatched unwatched;
  operator delete[](block);
}

void unwatched__ZdaPvm(void* block, size_t) {
  Unwatched unwatched;
  operator delete[](block);
}

void* unwatched__ZnwmSt11align_val_t(size_t size, std::align_val_t alignment) {
  Unwatched unwatched;
  return operator new(size, alignment);
}

void* unwatched__ZnamSt11align_val_t(size_t size, std::align_val_t alignment) {
  Unwatched unwatched;
  return operator new[](size, alignment);
}

void unwatched__ZdlPvSt11align_val_t(void* block, std::align_val_t alignment) {
  Unwatched unwatched;
  operator delete(block, alignment);
}

void unwatched__ZdlPvmSt11align_val_t(void* block, size_t, std::align_val_t alignment) {
  Unwatched unwatched;
  operator delete(block, alignment);
}

void unwatched__ZdaPvSt11align_val_t(void* block, std::align_val_t alignment) {
  Unwatched unwatched;
  operator delete[](block, alignment);
}

}  // extern "C"
