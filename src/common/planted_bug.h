// Bugs that real systems had, one line each, for the test that shows that the simulator would find
// them. They exist only in the build of that test, which defines SKEIN_PLANTED_BUGS; everywhere
// else SKEIN_PLANTED(x) is the constant false.
#pragma once

#ifdef SKEIN_PLANTED_BUGS

#include <string_view>

namespace skein {

// The name of the one that is planted; empty: none.
inline std::string_view planted_bug;

}  // namespace skein

#define SKEIN_PLANTED(name) (::skein::planted_bug == std::string_view(name))

#else

#define SKEIN_PLANTED(name) false

#endif
