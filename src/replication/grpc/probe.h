// Asks the kernel whether anybody listens at an address. Thread-safe; blocks for as long as stated.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace skein {

// A numeric address.
struct Endpoint {
  sockaddr_storage address = {};
  socklen_t length = 0;

  // As gRPC wants it: `ipv4:127.0.0.1:7411`, `ipv6:[::1]:7411`.
  std::string Target() const;
};

// Looks up `host:port` or `[v6]:port`; at least one endpoint. As slow as the system's name service;
// numeric addresses are immediate.
absl::StatusOr<std::vector<Endpoint>> Resolve(const std::string& address);

enum class ProbeResult : uint8_t {
  kConnected,    // somebody listens
  kRefused,      // the host is there and nobody listens
  kUnreachable,  // no answer in time, or no way there
};

ProbeResult Probe(const Endpoint& endpoint, int timeout_ms);

}  // namespace skein
