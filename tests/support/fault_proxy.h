// TCP links that can be hurt: each listens on a port of its own and passes bytes on to a target,
// as long as nobody tells it otherwise. It knows nothing of what the bytes mean.
//
// A link listens only while its target does, so that whoever dials it finds out about a dead
// process as if there were no proxy: the kernel refuses.
//
// Threads: one thread of the proxy moves the bytes of all links. Every function may be called from
// any thread, and returns when that thread has done what it asks for.
//
// Invariants.
//  1. What is delivered is what was sent, in order and without gaps, but for Garble and
//     InjectGarbage. A connection of which bytes were dropped delivers nothing more in that
//     direction, and is reset when the direction stops to drop.
//  2. A link that does nothing special adds no delay beyond passing on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skein {

// What happens to the bytes of one direction.
struct FlowFault {
  bool drop = false;   // they vanish; the sender does not notice
  bool stall = false;  // they wait, and arrive when this is over: packets that are sent again
  std::chrono::milliseconds delay{0};
  std::chrono::milliseconds jitter{0};  // up to this much more than `delay`, at random
  uint64_t bytes_per_second = 0;        // of each connection; 0: as many as come
};

struct LinkFault {
  bool refuse = false;  // connections are reset, new ones refused
  FlowFault forward;    // from who dials to the target
  FlowFault backward;
};

enum class Flow { kForward, kBackward };

struct LinkStats {
  uint64_t accepted = 0;   // connections, since the link was made
  uint64_t open = 0;       // of them, now
  uint64_t delivered = 0;  // bytes, both directions
  uint64_t dropped = 0;    // bytes
  uint64_t garbled = 0;    // bytes that were changed or injected
};

class FaultProxy {
 public:
  explicit FaultProxy(uint64_t seed = 1);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  // Links are numbered from 0. `port` and `target_port` are on the loopback; `port` must be free.
  int AddLink(int port, int target_port);

  void Set(int link, const LinkFault& fault);
  void Heal(int link) { Set(link, {}); }
  // RST of all connections of the link; new ones are welcome.
  void Reset(int link);
  // `bytes` random bytes, put between others that are under way, on every connection of the link.
  void InjectGarbage(int link, Flow flow, int bytes);
  // Changes one byte of the next that pass: any, or, of the next that pass together and are enough
  // of them, the one at `offset`.
  void Garble(int link, Flow flow, std::optional<size_t> offset = std::nullopt);

  LinkStats Stats(int link);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace skein
