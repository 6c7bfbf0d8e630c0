// Work that must not take the processor from those who serve.
#pragma once

#include "absl/functional/function_ref.h"

namespace skein {

// Runs `work` on a thread of its own that gives way to all others, and waits for it. Threads that
// `work` starts give way for ever: it had better only read and compute.
void AtLowPriority(absl::FunctionRef<void()> work);

}  // namespace skein
