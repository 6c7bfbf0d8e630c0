// Loaded into a process before its libraries: from the moment the file that SKEIN_HANG_SYNC names
// is there, no sync of a file comes back.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace {

using Sync = int (*)(int);

void HangIfTold() {
  const char* const file = std::getenv("SKEIN_HANG_SYNC");
  while (file != nullptr && ::access(file, F_OK) == 0) ::pause();
}

int Call(const char* name, int fd) {
  HangIfTold();
  return reinterpret_cast<Sync>(::dlsym(RTLD_NEXT, name))(fd);
}

}  // namespace

extern "C" int fsync(int fd) { return Call("fsync", fd); }
extern "C" int fdatasync(int fd) { return Call("fdatasync", fd); }
