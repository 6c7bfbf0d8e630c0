// Tells the thread sanitizer what gRPC, which was built without it, synchronises. Linked into every
// binary of the tsan preset, where these functions come before the library's, which they call.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "unwatched.h"

namespace {

template <typename Function>
Function* Real(const char* symbol, Function*) {
  void* found = dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) {
    std::fprintf(stderr, "gRPC's library has no %s (any more)\n", symbol);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

struct Owned {
  void (*destroy)(void*);
  void* user_data;
};

void Destroy(void* argument) {
  __tsan_acquire(argument);
  auto* owned = static_cast<Owned*>(argument);
  owned->destroy(owned->user_data);
  delete owned;
}

}  // namespace

// Who is told of an operation's end, acquires its tag: see SkeinThreadSanitizer.cmake.
grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag,
                                      void* reserved) {
  static const auto real = Real("grpc_call_start_batch", &grpc_call_start_batch);
  __tsan_release(tag);
  return real(call, ops, count, tag, reserved);
}

// A slice is destroyed after it was made; gRPC's count of references sees to it.
grpc_slice grpc_slice_new_with_user_data(void* bytes, size_t size, void (*destroy)(void*),
                                         void* user_data) {
  static const auto real = Real("grpc_slice_new_with_user_data", &grpc_slice_new_with_user_data);
  auto* owned = new Owned{destroy, user_data};
  __tsan_release(owned);
  return real(bytes, size, &Destroy, owned);
}

// Destroys a server and gives its memory back, when gRPC's count of references says that nobody
// uses it. The mangled name of the destructor that `delete` calls.
extern "C" void _ZN4grpc6ServerD0Ev(void* server) {
  static const auto real = Real("_ZN4grpc6ServerD0Ev", &_ZN4grpc6ServerD0Ev);
  const Unwatched unwatched;
  real(server);
}

// Texts of errors, which gRPC has composed by functions of the standard library, on any thread.
grpc_slice grpc_slice_from_cpp_string(std::string text) {
  const Unwatched unwatched;
  return grpc_slice_from_copied_buffer(text.data(), text.size());
}
