#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "common/check.h"
#include "common/mutex.h"
#include "common/random.h"

namespace skein {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Instant = steady_clock::time_point;

constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kQueuedBytesMax = 1 << 20;  // of one direction; then nothing more is read
constexpr milliseconds kTargetCheck{5};      // how often a target that is down is looked for
// A process that dies closes its connections and its listener one after the other: so long an end
// is kept back, and so often it is seen whether the listener is gone too.
constexpr microseconds kDying{3000};
constexpr microseconds kDyingCheck{250};
constexpr int kBacklog = 1024;

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int NewSocket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  SKEIN_CHECK(fd >= 0);
  return fd;
}

// -1: refused. Else a socket that is connected or about to be: on the loopback only a listener
// that does not accept lets one wait.
int Dial(int port) {
  constexpr int kAnswerMs = 1;
  const int fd = NewSocket();
  const sockaddr_in address = Loopback(port);
  int error = 0;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    error = errno;
  }
  if (error == EINPROGRESS) {
    pollfd watched = {fd, POLLOUT, 0};
    ::poll(&watched, 1, kAnswerMs);
    socklen_t bytes = sizeof(error);
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
  }
  if (error == 0) return fd;
  ::close(fd);
  return -1;
}

// With RST, else with FIN behind what was sent.
void CloseSocket(int fd, bool reset) {
  const linger now = {.l_onoff = 1, .l_linger = 0};
  if (reset) ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  ::close(fd);
}

void SendAtOnce(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// One direction of one connection.
struct Pipe {
  struct Chunk {
    std::string bytes;
    Instant due;
  };
  int from = -1;
  int to = -1;
  std::deque<Chunk> queue;
  size_t queued_bytes = 0;
  bool ended = false;    // the sender has closed; what is queued still goes out
  bool tainted = false;  // bytes were dropped, so nothing may follow them
  bool may_read = true;
  bool may_write = true;
  double allowance = 0;  // bytes that the rate admits now
  Instant refilled;
};

struct Connection {
  Pipe forward;
  Pipe backward;
  bool broken = false;            // ends with a reset, without regard to what is queued
  std::optional<Instant> ending;  // ends then, or as soon as the target is seen to be gone
  Pipe& pipe(Flow flow) { return flow == Flow::kForward ? forward : backward; }
};

struct Link {
  int port = 0;
  int target = 0;
  int listener = -1;  // -1: refuses, or the target is down
  bool may_accept = false;
  LinkFault fault;
  bool garble[2] = {false, false};
  std::optional<size_t> garble_offset[2];
  std::vector<std::unique_ptr<Connection>> connections;
  LinkStats stats;
  Instant look_for_target;
  FlowFault& flow(Flow which) { return which == Flow::kForward ? fault.forward : fault.backward; }
};

}  // namespace

class FaultProxy::Impl {
 public:
  explicit Impl(uint64_t seed) : random_(seed), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    SKEIN_CHECK(wake_ >= 0);
    thread_ = std::thread([this] { Run(); });
  }
  ~Impl();

  // Runs `task` on the proxy's thread, and waits for it.
  void Do(const std::function<void()>& task);

  int AddLink(int port, int target);
  void Set(Link* link, const LinkFault& fault);
  void ResetAll(Link* link);
  void Inject(Link* link, Flow flow, int bytes);
  Link& link(int number) { return *links_[number]; }

 private:
  void Run();
  void RunTasks();
  void Listen(Link* link);
  void Refuse(Link* link);
  void LookForTarget(Link* link);
  void Accept(Link* link);
  // What poll is to watch for, and until when it may sleep.
  void Prepare(Link* link, Instant* until);
  void PreparePipe(Pipe* pipe, const FlowFault& fault, Instant* until);
  void Watch(int fd, int16_t events, bool* happened);
  void Move(Link* link);
  bool MovePipe(Link* link, Pipe* pipe, Flow flow);
  bool ReadInto(Link* link, Pipe* pipe, Flow flow);
  bool WriteFrom(Link* link, Pipe* pipe, const FlowFault& fault);
  size_t Admitted(Pipe* pipe, const FlowFault& fault) const;
  void Take(Link* link, Pipe* pipe, Flow flow, std::string bytes);
  void Close(const Connection& connection, bool reset);
  // True if the end of the connection need not be kept back any longer.
  bool MayEnd(Link* link, Connection* connection);
  bool TargetIsGone(const Link& link);

  Random random_;
  const int wake_;
  Instant now_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<pollfd> watched_;
  std::vector<bool*> happened_;  // for each that is watched
  Mutex mu_;
  std::vector<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

FaultProxy::Impl::~Impl() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  SKEIN_CHECK(::write(wake_, &one, sizeof(one)) == sizeof(one));
  thread_.join();
  for (const auto& link : links_) Refuse(link.get());
  ::close(wake_);
}

void FaultProxy::Impl::Do(const std::function<void()>& task) {
  std::promise<void> done;
  {
    MutexLock lock(&mu_);
    tasks_.push_back([&] {
      task();
      done.set_value();
    });
  }
  const uint64_t one = 1;
  SKEIN_CHECK(::write(wake_, &one, sizeof(one)) == sizeof(one));
  done.get_future().wait();
}

void FaultProxy::Impl::RunTasks() {
  std::vector<std::function<void()>> tasks;
  {
    MutexLock lock(&mu_);
    tasks.swap(tasks_);
  }
  for (const auto& task : tasks) task();
}

int FaultProxy::Impl::AddLink(int port, int target) {
  auto link = std::make_unique<Link>();
  link->port = port;
  link->target = target;
  links_.push_back(std::move(link));
  LookForTarget(links_.back().get());
  return static_cast<int>(links_.size()) - 1;
}

void FaultProxy::Impl::Listen(Link* link) {
  const int fd = NewSocket();
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const sockaddr_in address = Loopback(link->port);
  SKEIN_CHECK(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  SKEIN_CHECK(::listen(fd, kBacklog) == 0);
  link->listener = fd;
}

void FaultProxy::Impl::Refuse(Link* link) {
  if (link->listener >= 0) ::close(link->listener);
  link->listener = -1;
  ResetAll(link);
}

void FaultProxy::Impl::ResetAll(Link* link) {
  for (const auto& connection : link->connections) Close(*connection, /*reset=*/true);
  link->connections.clear();
}

void FaultProxy::Impl::LookForTarget(Link* link) {
  link->look_for_target = now_ + kTargetCheck;
  const int fd = Dial(link->target);
  if (fd < 0) return;
  ::close(fd);
  Listen(link);
}

// Before others learn that their connections are gone, nobody must listen here any more.
bool FaultProxy::Impl::TargetIsGone(const Link& link) {
  const int fd = Dial(link.target);
  if (fd >= 0) {
    ::close(fd);
    return false;
  }
  for (const auto& other : links_) {
    if (other->target != link.target || other->listener < 0) continue;
    ::close(other->listener);
    other->listener = -1;
    other->look_for_target = now_ + kTargetCheck;
  }
  return true;
}

void FaultProxy::Impl::Set(Link* link, const LinkFault& fault) {
  const LinkFault before = std::exchange(link->fault, fault);
  if (fault.refuse) {
    Refuse(link);
    return;
  }
  if (before.refuse) LookForTarget(link);
  for (const Flow flow : {Flow::kForward, Flow::kBackward}) {
    if (link->flow(flow).drop) continue;
    for (const auto& connection : link->connections) {
      if (connection->pipe(flow).tainted) connection->broken = true;
    }
  }
}

void FaultProxy::Impl::Inject(Link* link, Flow flow, int bytes) {
  for (const auto& connection : link->connections) {
    std::string garbage;
    for (int i = 0; i < bytes; ++i) garbage += static_cast<char>(random_.Next());
    Pipe& pipe = connection->pipe(flow);
    if (pipe.tainted) continue;
    pipe.queued_bytes += garbage.size();
    pipe.queue.push_back({std::move(garbage), now_});
    link->stats.garbled += bytes;
  }
}

void FaultProxy::Impl::Accept(Link* link) {
  while (link->listener >= 0) {
    const int fd = ::accept4(link->listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    const int target = Dial(link->target);
    if (target < 0) {
      TargetIsGone(*link);
      CloseSocket(fd, /*reset=*/true);
      return;
    }
    SendAtOnce(fd);
    SendAtOnce(target);
    auto connection = std::make_unique<Connection>();
    connection->forward.from = connection->backward.to = fd;
    connection->forward.to = connection->backward.from = target;
    connection->forward.refilled = connection->backward.refilled = now_;
    link->connections.push_back(std::move(connection));
    ++link->stats.accepted;
  }
}

void FaultProxy::Impl::Close(const Connection& connection, bool reset) {
  CloseSocket(connection.forward.from, reset);
  CloseSocket(connection.forward.to, reset);
}

size_t FaultProxy::Impl::Admitted(Pipe* pipe, const FlowFault& fault) const {
  if (fault.bytes_per_second == 0) return kQueuedBytesMax;
  const double seconds = std::chrono::duration<double>(now_ - pipe->refilled).count();
  const auto rate = static_cast<double>(fault.bytes_per_second);
  pipe->refilled = now_;
  pipe->allowance = std::min(pipe->allowance + seconds * rate, std::max(1.0, rate / 10));
  return static_cast<size_t>(pipe->allowance);
}

void FaultProxy::Impl::Watch(int fd, int16_t events, bool* happened) {
  watched_.push_back({fd, events, 0});
  happened_.push_back(happened);
}

// What poll is to watch for, and until when it may sleep.
void FaultProxy::Impl::PreparePipe(Pipe* pipe, const FlowFault& fault, Instant* until) {
  pipe->may_read = false;
  const bool reads = !pipe->ended && pipe->queued_bytes < kQueuedBytesMax && !fault.stall;
  if (reads) Watch(pipe->from, POLLIN, &pipe->may_read);
  if (pipe->queue.empty() || fault.stall) return;
  const Instant due = pipe->queue.front().due;
  if (due > now_) {
    *until = std::min(*until, due);
  } else if (Admitted(pipe, fault) == 0) {
    *until = std::min(*until, now_ + milliseconds(10));
  } else if (!pipe->may_write) {
    Watch(pipe->to, POLLOUT, &pipe->may_write);
  } else {
    *until = now_;
  }
}

void FaultProxy::Impl::Prepare(Link* link, Instant* until) {
  link->may_accept = false;
  if (link->listener >= 0) {
    Watch(link->listener, POLLIN, &link->may_accept);
  } else if (!link->fault.refuse) {
    *until = std::min(*until, link->look_for_target);
  }
  for (const auto& connection : link->connections) {
    if (connection->broken || connection->ending.has_value()) {
      *until = std::min(*until, now_ + kDyingCheck);
      continue;
    }
    PreparePipe(&connection->forward, link->fault.forward, until);
    PreparePipe(&connection->backward, link->fault.backward, until);
  }
}

// False: the connection is over.
bool FaultProxy::Impl::ReadInto(Link* link, Pipe* pipe, Flow flow) {
  const FlowFault& fault = link->flow(flow);
  char buffer[kReadBytes];
  while (!pipe->ended && !fault.stall && pipe->queued_bytes < kQueuedBytesMax) {
    const ssize_t count = ::recv(pipe->from, buffer, sizeof(buffer), 0);
    if (count < 0 && (errno == EAGAIN || errno == ENOTCONN)) return true;
    const bool vanishes = fault.drop || pipe->tainted;
    if (vanishes) pipe->tainted = true;
    if (count <= 0) {
      pipe->ended = true;
      return count == 0 || vanishes;
    }
    if (vanishes) {
      link->stats.dropped += count;
    } else {
      Take(link, pipe, flow, std::string(buffer, static_cast<size_t>(count)));
    }
  }
  return true;
}

void FaultProxy::Impl::Take(Link* link, Pipe* pipe, Flow flow, std::string bytes) {
  const FlowFault& fault = link->flow(flow);
  bool& garble = link->garble[static_cast<int>(flow)];
  const std::optional<size_t> offset = link->garble_offset[static_cast<int>(flow)];
  if (garble && offset.value_or(0) < bytes.size()) {
    garble = false;
    // A byte xor a number from 1 to 255 is another byte.
    bytes[offset.value_or(random_.Below(bytes.size()))] ^=
        static_cast<char>(1 + random_.Below(255));
    ++link->stats.garbled;
  }
  const auto jitter = static_cast<uint64_t>(microseconds(fault.jitter).count());
  Instant due = now_ + fault.delay + microseconds(jitter == 0 ? 0 : random_.Below(jitter));
  if (!pipe->queue.empty()) due = std::max(due, pipe->queue.back().due);
  pipe->queued_bytes += bytes.size();
  pipe->queue.push_back({std::move(bytes), due});
}

bool FaultProxy::Impl::WriteFrom(Link* link, Pipe* pipe, const FlowFault& fault) {
  if (!pipe->may_write) return true;
  while (!fault.stall && !pipe->queue.empty() && pipe->queue.front().due <= now_) {
    Pipe::Chunk& chunk = pipe->queue.front();
    const size_t admitted = std::min(chunk.bytes.size(), Admitted(pipe, fault));
    if (admitted == 0) return true;
    const ssize_t count = ::send(pipe->to, chunk.bytes.data(), admitted, MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
      pipe->may_write = false;
      return true;
    }
    if (count < 0) return false;
    link->stats.delivered += count;
    pipe->queued_bytes -= count;
    pipe->allowance -= static_cast<double>(count);
    chunk.bytes.erase(0, count);
    if (chunk.bytes.empty()) pipe->queue.pop_front();
  }
  return !pipe->ended || pipe->tainted || !pipe->queue.empty();
}

bool FaultProxy::Impl::MovePipe(Link* link, Pipe* pipe, Flow flow) {
  if (pipe->may_read && !ReadInto(link, pipe, flow)) return false;
  return WriteFrom(link, pipe, link->flow(flow));
}

bool FaultProxy::Impl::MayEnd(Link* link, Connection* connection) {
  if (connection->broken) return true;
  if (!connection->ending.has_value()) connection->ending = now_ + kDying;
  return now_ >= *connection->ending || TargetIsGone(*link);
}

void FaultProxy::Impl::Move(Link* link) {
  if (link->may_accept) {
    Accept(link);
  } else if (link->listener < 0 && !link->fault.refuse && now_ >= link->look_for_target) {
    LookForTarget(link);
  }
  for (auto& connection : link->connections) {
    Pipe& forward = connection->forward;
    Pipe& backward = connection->backward;
    const bool lives = !connection->broken && !connection->ending.has_value() &&
                       MovePipe(link, &forward, Flow::kForward) &&
                       MovePipe(link, &backward, Flow::kBackward) &&
                       !(forward.ended && backward.ended);
    if (lives || !MayEnd(link, connection.get())) continue;
    Close(*connection, connection->broken);
    connection.reset();
  }
  std::erase(link->connections, nullptr);
  link->stats.open = link->connections.size();
}

void FaultProxy::Impl::Run() {
  for (;;) {
    now_ = steady_clock::now();
    RunTasks();
    {
      MutexLock lock(&mu_);
      if (stopping_) return;
    }
    Instant until = now_ + std::chrono::seconds(1);
    watched_.clear();
    happened_.clear();
    bool woken = false;
    Watch(wake_, POLLIN, &woken);
    for (const auto& link : links_) Prepare(link.get(), &until);
    const auto pause = std::chrono::ceil<microseconds>(until - now_).count();
    const timespec timeout = {.tv_sec = pause / 1'000'000, .tv_nsec = pause % 1'000'000 * 1000};
    ::ppoll(watched_.data(), watched_.size(), &timeout, nullptr);
    for (size_t i = 0; i < watched_.size(); ++i) {
      if (watched_[i].revents != 0) *happened_[i] = true;
    }
    uint64_t ignored = 0;
    if (woken) SKEIN_CHECK(::read(wake_, &ignored, sizeof(ignored)) == sizeof(ignored));
    now_ = steady_clock::now();
    for (const auto& link : links_) Move(link.get());
  }
}

FaultProxy::FaultProxy(uint64_t seed) : impl_(std::make_unique<Impl>(seed)) {}
FaultProxy::~FaultProxy() = default;

int FaultProxy::AddLink(int port, int target_port) {
  int number = 0;
  impl_->Do([&] { number = impl_->AddLink(port, target_port); });
  return number;
}

void FaultProxy::Set(int link, const LinkFault& fault) {
  impl_->Do([&] { impl_->Set(&impl_->link(link), fault); });
}

void FaultProxy::Reset(int link) {
  impl_->Do([&] { impl_->ResetAll(&impl_->link(link)); });
}

void FaultProxy::InjectGarbage(int link, Flow flow, int bytes) {
  impl_->Do([&] { impl_->Inject(&impl_->link(link), flow, bytes); });
}

void FaultProxy::Garble(int link, Flow flow, std::optional<size_t> offset) {
  impl_->Do([&] {
    impl_->link(link).garble[static_cast<int>(flow)] = true;
    impl_->link(link).garble_offset[static_cast<int>(flow)] = offset;
  });
}

LinkStats FaultProxy::Stats(int link) {
  LinkStats stats;
  impl_->Do([&] { stats = impl_->link(link).stats; });
  return stats;
}

}  // namespace skein
