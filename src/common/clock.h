// Time, as something that is passed in.
#pragma once

#include <chrono>
#include <cstdint>

namespace skein {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; comparable between the processes of one host, not between hosts.
  virtual uint64_t MonotonicMicros() const = 0;
  // Milliseconds since 1970; may jump.
  virtual uint64_t WallMillis() const = 0;
};

class SystemClock final : public Clock {
 public:
  uint64_t MonotonicMicros() const override { return Micros(std::chrono::steady_clock::now()); }
  uint64_t WallMillis() const override { return Micros(std::chrono::system_clock::now()) / 1000; }

 private:
  template <typename TimePoint>
  static uint64_t Micros(TimePoint t) {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(t.time_since_epoch()).count());
  }
};

}  // namespace skein
