// Waiting for a condition. The only place in the tests that lets time pass: everything else waits
// through here, with a deadline.
#pragma once

#include <chrono>
#include <functional>

namespace skein {

// Asks again and again, with a short pause in between, until `condition` holds or `timeout` is
// over. True: it holds.
bool WaitUntil(std::chrono::milliseconds timeout, const std::function<bool()>& condition);

}  // namespace skein
