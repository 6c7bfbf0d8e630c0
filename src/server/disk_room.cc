#include "server/disk_room.h"

namespace skein {

namespace {

// What a byte of a put takes: in the log, in the state, and again while the state is compacted.
constexpr uint64_t kTimesWritten = 3;
// What an entry has besides key and value.
constexpr int64_t kEntryOverheadBytes = 64;

}  // namespace

bool DiskRoom::Looked(uint64_t free_bytes) {
  const uint64_t above = free_bytes < reserve_bytes_ ? 0 : free_bytes - reserve_bytes_;
  const auto room = static_cast<int64_t>(above / kTimesWritten);
  look_at_bytes_.store(room / 2);
  room_bytes_.store(room);
  return full_.exchange(room == 0) != (room == 0);
}

bool DiskRoom::Take(uint64_t bytes) {
  const int64_t taken = static_cast<int64_t>(bytes) + kEntryOverheadBytes;
  const int64_t room = room_bytes_.load();
  if (room <= 0) return false;
  const int64_t before = room_bytes_.fetch_sub(taken);
  const int64_t look_at = look_at_bytes_.load();
  if (before > look_at && before - taken <= look_at) look_soon_();
  return true;
}

}  // namespace skein
