// Versions of the protocol between nodes. Two nodes talk in the highest that both understand (R27);
// docs/wire_protocol.md says what each version brought.
#pragma once

#include <cstdint>

namespace skein {

inline constexpr uint32_t kOldestProtocolVersion = 1;  // that this program still speaks
inline constexpr uint32_t kProtocolVersion = 2;

// From this one on: members that never vote, upstreams, relayed entries.
inline constexpr uint32_t kUpstreamsVersion = 2;

}  // namespace skein
