#include "replication/grpc/probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace skein {
namespace {

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    // Leaves no connection behind in TIME_WAIT.
    const linger reset{.l_onoff = 1, .l_linger = 0};
    if (fd_ >= 0) setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int fd() const { return fd_; }

 private:
  const int fd_;
};

// The kernel may pick the port that is called as the port to call from: a socket that talks to
// itself. Then nobody listens there.
bool ConnectedToItself(int fd) {
  sockaddr_storage own = {};
  sockaddr_storage peer = {};
  socklen_t own_length = sizeof(own);
  socklen_t peer_length = sizeof(peer);
  return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length) == 0 &&
         own_length == peer_length && std::memcmp(&own, &peer, own_length) == 0;
}

ProbeResult ResultOf(int error, int fd) {
  if (error == ECONNREFUSED) return ProbeResult::kRefused;
  if (error != 0) return ProbeResult::kUnreachable;
  return ConnectedToItself(fd) ? ProbeResult::kRefused : ProbeResult::kConnected;
}

}  // namespace

std::string Endpoint::Target() const {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host, sizeof(host), port,
                  sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "";
  }
  return address.ss_family == AF_INET6 ? fmt::format("ipv6:[{}]:{}", host, port)
                                       : fmt::format("ipv4:{}:{}", host, port);
}

absl::StatusOr<std::vector<Endpoint>> Resolve(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(fmt::format("`{}` is not of the form host:port", address));
  }
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        fmt::format("cannot look up `{}`: {}", address, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    if (info->ai_family != AF_INET && info->ai_family != AF_INET6) continue;
    Endpoint endpoint;
    std::memcpy(&endpoint.address, info->ai_addr, info->ai_addrlen);
    endpoint.length = info->ai_addrlen;
    endpoints.push_back(endpoint);
  }
  if (endpoints.empty()) {
    return absl::UnavailableError(fmt::format("`{}` has no internet address", address));
  }
  return endpoints;
}

ProbeResult Probe(const Endpoint& endpoint, int timeout_ms) {
  const Socket socket(endpoint.address.ss_family);
  if (socket.fd() < 0) return ProbeResult::kUnreachable;
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.length) ==
      0) {
    return ResultOf(0, socket.fd());
  }
  if (errno != EINPROGRESS) return ResultOf(errno, socket.fd());
  pollfd wait{.fd = socket.fd(), .events = POLLOUT};
  if (poll(&wait, 1, timeout_ms) != 1) return ProbeResult::kUnreachable;
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return ResultOf(error, socket.fd());
}

}  // namespace skein
