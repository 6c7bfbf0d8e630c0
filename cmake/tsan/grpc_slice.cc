// Tells the thread sanitizer that a slice is destroyed after it was made, which gRPC's count of
// references sees to. Linked into every binary of the tsan preset, before gRPC's library, whose
// function this one calls.
#include <dlfcn.h>
#include <grpc/slice.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>

namespace {

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

grpc_slice grpc_slice_new_with_user_data(void* bytes, size_t size, void (*destroy)(void*),
                                         void* user_data) {
  static const auto real = reinterpret_cast<decltype(&grpc_slice_new_with_user_data)>(
      dlsym(RTLD_NEXT, "grpc_slice_new_with_user_data"));
  if (real == nullptr) {
    std::fprintf(stderr, "gRPC's library has no grpc_slice_new_with_user_data (any more)\n");
    std::abort();
  }
  auto* owned = new Owned{destroy, user_data};
  __tsan_release(owned);
  return real(bytes, size, &Destroy, owned);
}
