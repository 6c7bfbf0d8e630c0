// Work that must not take the processor from those who serve.
#pragma once

namespace skein {

// The calling thread, and those that it starts, give way to all others from now on. For threads
// that read and compute, and hold no lock that others wait for.
void GiveWay();

}  // namespace skein
