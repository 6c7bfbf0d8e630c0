#include "replication/core/options.h"

namespace skein {

absl::Status CoreOptions::Validate() const {
  const auto ms = [this](uint64_t ticks) { return std::to_string(ticks * tick_ms) + " ms"; };
  if (protocol_version < kOldestProtocolVersion || protocol_version > kProtocolVersion) {
    return absl::InvalidArgumentError(
        "protocol version " + std::to_string(protocol_version) +
        " is not one that this program speaks: " + std::to_string(kOldestProtocolVersion) + " to " +
        std::to_string(kProtocolVersion));
  }
  if (tick_ms == 0 || heartbeat_ticks == 0) {
    return absl::InvalidArgumentError("the heartbeat interval must be at least one tick");
  }
  if (election_ticks_min < 5 * heartbeat_ticks) {
    return absl::InvalidArgumentError("the election timeout, " + ms(election_ticks_min) +
                                      ", must be at least five heartbeats of " +
                                      ms(heartbeat_ticks));
  }
  if (election_ticks_max <= election_ticks_min) {
    return absl::InvalidArgumentError("the upper end of the election timeout, " +
                                      ms(election_ticks_max) + ", must be above the lower, " +
                                      ms(election_ticks_min));
  }
  if (stall_ticks < election_ticks_max) {
    return absl::InvalidArgumentError("the disk stall limit, " + ms(stall_ticks) +
                                      ", must be at least the election timeout, " +
                                      ms(election_ticks_max));
  }
  if (append_bytes_max == 0 || window_bytes_max < append_bytes_max || uncommitted_bytes_max == 0 ||
      applying_bytes_max == 0) {
    return absl::InvalidArgumentError(
        "byte limits must be above zero, and the window at least as large as one append");
  }
  if (log_retention_bytes == 0 || snapshot_silence_ticks == 0) {
    return absl::InvalidArgumentError(
        "the log must be kept to some extent, and a receiver of a snapshot be waited for");
  }
  return absl::OkStatus();
}

}  // namespace skein
