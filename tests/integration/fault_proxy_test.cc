// Each fault of the proxy does what it says, and only to its own link and direction.
#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kPatience{10};
constexpr milliseconds kQuiet{150};  // so long nothing must arrive

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// One end of a connection.
class End {
 public:
  explicit End(int fd) : fd_(fd) {}
  End(End&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~End() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool Send(const std::string& bytes) {
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  // Waits for `count` bytes; fewer if the time or the connection is over.
  std::string Receive(size_t count, milliseconds timeout = kPatience) {
    std::string all;
    const auto deadline = steady_clock::now() + timeout;
    while (all.size() < count && !ended_) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
      pollfd watched = {fd_, POLLIN, 0};
      if (left <= 0 || ::poll(&watched, 1, static_cast<int>(left)) == 0) break;
      char buffer[4096];
      const ssize_t got = ::recv(fd_, buffer, std::min(sizeof(buffer), count - all.size()), 0);
      if (got <= 0) {
        ended_ = true;
        reset_ = got < 0 && errno == ECONNRESET;
      } else {
        all.append(buffer, static_cast<size_t>(got));
      }
    }
    return all;
  }
  bool WaitForEnd(milliseconds timeout = kPatience) {
    Receive(1, timeout);
    return ended_;
  }
  bool reset() const { return reset_; }

 private:
  int fd_;
  bool ended_ = false;
  bool reset_ = false;
};

class Listener {
 public:
  explicit Listener(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const sockaddr_in address = Loopback(port);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
  }
  ~Listener() { ::close(fd_); }
  // Passes over the connections by which the proxy looks whether somebody listens.
  std::optional<End> Accept() {
    for (;;) {
      pollfd watched = {fd_, POLLIN, 0};
      if (::poll(&watched, 1, static_cast<int>(milliseconds(kPatience).count())) <= 0) break;
      End end(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
      if (!end.WaitForEnd(milliseconds(20))) return end;
    }
    return std::nullopt;
  }

 private:
  int fd_;
};

std::optional<End> Dial(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return End(fd);
  }
  ::close(fd);
  return std::nullopt;
}

class FaultProxyTest : public ::testing::Test {
 protected:
  struct Connected {
    End dialler;
    End target;
  };

  void SetUp() override {
    listener_.emplace(target_.number());
    link_ = proxy_.AddLink(port_.number(), target_.number());
    other_link_ = proxy_.AddLink(other_port_.number(), target_.number());
  }
  Connected Connect() { return Connect(port_); }
  Connected Connect(const FreePort& port) {
    std::optional<End> dialler = Dial(port.number());
    EXPECT_TRUE(dialler.has_value());
    std::optional<End> target = listener_->Accept();
    EXPECT_TRUE(target.has_value());
    return {*std::move(dialler), *std::move(target)};
  }
  static void ExpectPasses(Connected* connected) {
    ASSERT_TRUE(connected->dialler.Send("there"));
    EXPECT_EQ(connected->target.Receive(5), "there");
    ASSERT_TRUE(connected->target.Send("and back"));
    EXPECT_EQ(connected->dialler.Receive(8), "and back");
  }

  FreePort port_;
  FreePort other_port_;
  FreePort target_;
  std::optional<Listener> listener_;
  FaultProxy proxy_;
  int link_ = -1;
  int other_link_ = -1;
};

TEST_F(FaultProxyTest, PassesEverythingOnInOrder) {
  Connected connected = Connect();
  ExpectPasses(&connected);
  std::string much;
  for (int i = 0; much.size() < 300'000; ++i) much += std::to_string(i) + ",";
  ASSERT_TRUE(connected.dialler.Send(much.substr(0, 100'000)));
  EXPECT_EQ(connected.target.Receive(100'000), much.substr(0, 100'000));
  ASSERT_TRUE(connected.dialler.Send(much.substr(100'000, 100'000)));
  EXPECT_EQ(connected.target.Receive(100'000), much.substr(100'000, 100'000));
  EXPECT_EQ(proxy_.Stats(link_).delivered, 13U + 200'000U);
}

TEST_F(FaultProxyTest, AnEndIsPassedOnBehindTheLastBytes) {
  Connected connected = Connect();
  {
    End gone = std::move(connected.dialler);
    ASSERT_TRUE(gone.Send("last words"));
  }
  EXPECT_EQ(connected.target.Receive(10), "last words");
  EXPECT_TRUE(connected.target.WaitForEnd());
  EXPECT_FALSE(connected.target.reset());
}

TEST_F(FaultProxyTest, ListensOnlyWhileItsTargetDoes) {
  Connected connected = Connect();
  listener_.reset();
  { const End dies = std::move(connected.target); }
  EXPECT_TRUE(connected.dialler.WaitForEnd());
  EXPECT_FALSE(Dial(port_.number()).has_value()) << "the end came before the port was closed";
  EXPECT_FALSE(Dial(other_port_.number()).has_value());
  listener_.emplace(target_.number());
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Dial(port_.number()).has_value(); }));
}

TEST_F(FaultProxyTest, ACutLinkResetsAndRefuses) {
  Connected connected = Connect();
  Connected other = Connect(other_port_);
  proxy_.Set(link_, {.refuse = true});
  EXPECT_TRUE(connected.dialler.WaitForEnd());
  EXPECT_TRUE(connected.dialler.reset());
  EXPECT_TRUE(connected.target.WaitForEnd());
  EXPECT_FALSE(Dial(port_.number()).has_value());
  ExpectPasses(&other);
  proxy_.Heal(link_);
  Connected again = Connect();
  ExpectPasses(&again);
}

TEST_F(FaultProxyTest, ResetEndsConnectionsAndTakesNewOnes) {
  Connected connected = Connect();
  proxy_.Reset(link_);
  EXPECT_TRUE(connected.dialler.WaitForEnd());
  EXPECT_TRUE(connected.dialler.reset());
  EXPECT_TRUE(connected.target.WaitForEnd());
  EXPECT_TRUE(connected.target.reset());
  Connected again = Connect();
  ExpectPasses(&again);
}

TEST_F(FaultProxyTest, ABlackHoleKeepsConnectionsOpenAndEndsThemWhenItIsOver) {
  Connected connected = Connect();
  proxy_.Set(link_, {.forward = {.drop = true}, .backward = {.drop = true}});
  ASSERT_TRUE(connected.dialler.Send("lost"));
  ASSERT_TRUE(connected.target.Send("lost too"));
  EXPECT_EQ(connected.target.Receive(1, kQuiet), "");
  EXPECT_EQ(connected.dialler.Receive(1, kQuiet), "");
  EXPECT_FALSE(connected.dialler.WaitForEnd(milliseconds(1)));
  EXPECT_EQ(proxy_.Stats(link_).dropped, 12U);
  Connected born_in_it = Connect();
  ASSERT_TRUE(born_in_it.dialler.Send("lost"));
  EXPECT_EQ(born_in_it.target.Receive(1, kQuiet), "");
  proxy_.Heal(link_);
  EXPECT_TRUE(connected.dialler.WaitForEnd()) << "bytes are missing, so nothing may follow";
  EXPECT_TRUE(connected.target.WaitForEnd());
  EXPECT_TRUE(born_in_it.dialler.WaitForEnd());
  Connected again = Connect();
  ExpectPasses(&again);
}

TEST_F(FaultProxyTest, NotEvenAnEndLeavesABlackHole) {
  Connected connected = Connect();
  proxy_.Set(link_, {.forward = {.drop = true}});
  { const End gone = std::move(connected.dialler); }
  EXPECT_FALSE(connected.target.WaitForEnd(kQuiet));
}

TEST_F(FaultProxyTest, AOneWayCutLosesOneDirectionOnly) {
  Connected connected = Connect();
  proxy_.Set(link_, {.forward = {.drop = true}});
  ASSERT_TRUE(connected.dialler.Send("lost"));
  ASSERT_TRUE(connected.target.Send("arrives"));
  EXPECT_EQ(connected.dialler.Receive(7), "arrives");
  EXPECT_EQ(connected.target.Receive(1, kQuiet), "");
}

TEST_F(FaultProxyTest, AStalledLinkDeliversWhenItGoesOn) {
  Connected connected = Connect();
  proxy_.Set(link_, {.forward = {.stall = true}});
  ASSERT_TRUE(connected.dialler.Send("late"));
  ASSERT_TRUE(connected.target.Send("in time"));
  EXPECT_EQ(connected.dialler.Receive(7), "in time");
  EXPECT_EQ(connected.target.Receive(1, kQuiet), "");
  proxy_.Heal(link_);
  EXPECT_EQ(connected.target.Receive(4), "late");
}

TEST_F(FaultProxyTest, ADelayedLinkIsLateAndKeepsTheOrder) {
  Connected connected = Connect();
  proxy_.Set(link_, {.forward = {.delay = milliseconds(100), .jitter = milliseconds(50)}});
  const auto sent = steady_clock::now();
  std::string all;
  for (char c = 'a'; c <= 'z'; ++c) {
    all += c;
    ASSERT_TRUE(connected.dialler.Send(std::string(1, c)));
  }
  EXPECT_EQ(connected.target.Receive(26), all);
  EXPECT_GE(steady_clock::now() - sent, milliseconds(100));
  ASSERT_TRUE(connected.target.Send("x"));
  EXPECT_EQ(connected.dialler.Receive(1), "x");
}

TEST_F(FaultProxyTest, ATrickledLinkKeepsToItsRate) {
  Connected connected = Connect();
  proxy_.Set(link_, {.forward = {.bytes_per_second = 10'000}});
  const auto began = steady_clock::now();
  const std::string bytes(5'000, 'x');
  ASSERT_TRUE(connected.dialler.Send(bytes));
  EXPECT_EQ(connected.target.Receive(bytes.size()), bytes);
  // A tenth of a second's worth may come at once.
  EXPECT_GE(steady_clock::now() - began, milliseconds(390));
}

TEST_F(FaultProxyTest, GarbleChangesOneByteOnce) {
  Connected connected = Connect();
  proxy_.Garble(link_, Flow::kForward);
  const std::string sent(1000, 'x');
  ASSERT_TRUE(connected.dialler.Send(sent));
  const std::string received = connected.target.Receive(sent.size());
  ASSERT_EQ(received.size(), sent.size());
  EXPECT_EQ(std::count(received.begin(), received.end(), 'x'), 999);
  EXPECT_EQ(proxy_.Stats(link_).garbled, 1U);
  ExpectPasses(&connected);
}

TEST_F(FaultProxyTest, GarbleChangesTheByteThatIsWanted) {
  Connected connected = Connect();
  proxy_.Garble(link_, Flow::kBackward, 7);
  ASSERT_TRUE(connected.target.Send("short"));
  EXPECT_EQ(connected.dialler.Receive(5), "short");
  ASSERT_TRUE(connected.target.Send("0123456789"));
  const std::string received = connected.dialler.Receive(10);
  EXPECT_EQ(received.substr(0, 7), "0123456");
  EXPECT_NE(received.substr(7, 1), "7");
  EXPECT_EQ(received.substr(8), "89");
  EXPECT_EQ(proxy_.Stats(link_).garbled, 1U);
  ExpectPasses(&connected);
}

TEST_F(FaultProxyTest, GarbageComesBetweenWhatIsSent) {
  Connected connected = Connect();
  ExpectPasses(&connected);
  proxy_.InjectGarbage(link_, Flow::kForward, 32);
  EXPECT_EQ(connected.target.Receive(32).size(), 32U);
  ExpectPasses(&connected);
}

}  // namespace
}  // namespace skein
