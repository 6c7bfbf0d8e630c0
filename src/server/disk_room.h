// Puts are refused before the reserve of the disk is used, however fast they come.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace skein {

// A look at the disk says how many bytes of puts there is room for; each put takes of it, and when
// half is taken it is time to look again. Take may be called from any thread, Looked from one.
class DiskRoom {
 public:
  // `look_soon` is called from the thread of a put and must not wait.
  DiskRoom(uint64_t reserve_bytes, std::function<void()> look_soon)
      : reserve_bytes_(reserve_bytes), look_soon_(std::move(look_soon)) {}

  // True if this look ends the room for puts, or finds the first after there was none.
  bool Looked(uint64_t free_bytes);
  // Whether a put of so many bytes still has room; if so it is counted.
  bool Take(uint64_t bytes);

  bool full() const { return full_.load(); }

 private:
  const uint64_t reserve_bytes_;
  const std::function<void()> look_soon_;
  std::atomic<bool> full_{false};
  std::atomic<int64_t> room_bytes_{INT64_MAX};  // before the first look there is no limit
  std::atomic<int64_t> look_at_bytes_{0};
};

}  // namespace skein
