#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/random.h"
#include "replication/grpc/probe.h"
#include "tests/replication/grpc/peer_fixture.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

// Two nodes whose servers run.
class PeerLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(a_.StartServer());
    ASSERT_TRUE(b_.StartServer());
  }

  void Connect() {
    a_.SetPeers({b_.address()});
    b_.SetPeers({a_.address()});
    ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
    ASSERT_TRUE(b_.sink().WaitForCount<LinkUp>(1));
  }

  Message Heartbeat(uint64_t round) const {
    return {a_.id(), b_.id(), Term(1), HeartbeatMessage{.round = round}};
  }

  TestNode a_{Identity("n1")};
  TestNode b_{Identity("n2")};
};

TEST_F(PeerLinkTest, MessagesArriveInOrderBothWays) {
  Connect();
  constexpr size_t kCount = 2000;
  const std::vector<EntryPtr> entries = MakeEntries(kCount, 100);
  LogPoint previous;
  for (size_t i = 0; i < kCount; ++i) {
    a_.transport().Send(MakeAppend(a_.id(), b_.id(), {entries[i]}, previous));
    previous = entries[i]->point();
    a_.transport().Send(Heartbeat(i));
    b_.transport().Send({b_.id(), a_.id(), Term(1), HeartbeatAck{.round = i}});
  }
  ASSERT_TRUE(b_.sink().WaitForCount<Received>(2 * kCount));
  ASSERT_TRUE(a_.sink().WaitForCount<Received>(kCount));
  uint64_t appends = 0;
  uint64_t heartbeats = 0;
  for (const Received& received : b_.sink().All<Received>()) {
    EXPECT_GT(received.received_us, 0u);
    if (const auto* append = std::get_if<AppendMessage>(&received.message.body)) {
      ASSERT_EQ(append->entries.size(), 1u);
      EXPECT_EQ(append->entries[0]->frame(), entries[appends++]->frame());
    } else {
      EXPECT_EQ(std::get<HeartbeatMessage>(received.message.body).round, heartbeats++);
    }
  }
  uint64_t acks = 0;
  for (const Received& received : a_.sink().All<Received>()) {
    EXPECT_EQ(std::get<HeartbeatAck>(received.message.body).round, acks++);
  }
  EXPECT_EQ(a_.transport().Stats(b_.id()).dropped, 0u);
}

TEST_F(PeerLinkTest, NoticesThatThePeerIsGoneAndThatItIsBack) {
  Connect();
  b_.StopServer();
  ASSERT_TRUE(a_.sink().WaitFor([](const std::vector<Event>& events) {
    const auto downs = TestSink::BreaksIn(events);
    return !downs.empty() && downs.back().refused;
  }));
  EXPECT_EQ(a_.sink().Breaks()[0].peer, b_.id());
  a_.transport().Send(Heartbeat(1));
  EXPECT_EQ(a_.transport().Stats(b_.id()).dropped, 1u);
  EXPECT_FALSE(a_.transport().Stats(b_.id()).up);
  ASSERT_TRUE(b_.StartServer());
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(2));
  a_.transport().Send(Heartbeat(2));
  ASSERT_TRUE(b_.sink().WaitForCount<Received>(1));
  EXPECT_EQ(std::get<HeartbeatMessage>(b_.sink().All<Received>()[0].message.body).round, 2u);
}

TEST_F(PeerLinkTest, TellsABrokenStreamFromADeadProcess) {
  Connect();
  b_.service().Stop();
  ASSERT_TRUE(a_.sink().WaitForBreaks(1));
  EXPECT_FALSE(a_.sink().Breaks()[0].refused);
  ASSERT_TRUE(a_.notices().WaitForText("the node is stopping"));
  b_.StopServer();
  ASSERT_TRUE(a_.sink().WaitForBreaks(2));
  EXPECT_TRUE(a_.sink().Breaks()[1].refused);
  // The notice comes with each further attempt that finds the same; the event does not.
  ASSERT_TRUE(a_.notices().WaitForText("nobody listens there"));
  a_.transport().Stop();
  EXPECT_EQ(a_.sink().Breaks().size(), 2u);
}

TEST_F(PeerLinkTest, AKickEndsThePauseBetweenAttempts) {
  TestNode c(Identity("n3"),
             {.reconnect_backoff_min_ms = 600000, .reconnect_backoff_max_ms = 600000});
  b_.StopServer();
  b_.SetPeers({c.address()});
  c.SetPeers({b_.address()});
  ASSERT_TRUE(c.notices().WaitForText("nobody listens there"));
  ASSERT_TRUE(b_.StartServer());
  c.transport().Kick(b_.id());
  EXPECT_TRUE(c.sink().WaitForCount<LinkUp>(1));
}

TEST_F(PeerLinkTest, TheHelloOfAPeerBringsUpTheLinkBack) {
  TestNode c(Identity("n3"),
             {.reconnect_backoff_min_ms = 600000, .reconnect_backoff_max_ms = 600000});
  ASSERT_TRUE(c.StartServer());
  b_.StopServer();
  c.SetPeers({b_.address()});
  ASSERT_TRUE(c.notices().WaitForText("nobody listens there"));
  ASSERT_TRUE(b_.StartServer());
  b_.SetPeers({c.address()});
  EXPECT_TRUE(b_.sink().WaitForCount<LinkUp>(1));
  EXPECT_TRUE(c.sink().WaitForCount<LinkUp>(1));
}

TEST_F(PeerLinkTest, AFullQueueDropsRatherThanGrows) {
  // Held longer than a link waits for a receipt, on a slow machine.
  TestNode c(Identity("n3"), {.bulk_queue_bytes = 1u << 20, .receipt_timeout_ms = 60000});
  b_.SetPeers({c.address()});
  c.SetPeers({b_.address()});
  ASSERT_TRUE(c.sink().WaitForCount<LinkUp>(1));
  b_.sink().Hold(true);
  const std::vector<EntryPtr> entries = MakeEntries(1, 100000);
  uint64_t sent = 0;
  // What is not read fills the windows of the connection first, and then the queue.
  for (; c.transport().Stats(b_.id()).dropped == 0 && sent < 100000; ++sent) {
    c.transport().Send(MakeAppend(c.id(), b_.id(), entries));
    EXPECT_LE(c.transport().Stats(b_.id()).queued_bytes, 1u << 20);
  }
  const uint64_t dropped = c.transport().Stats(b_.id()).dropped;
  EXPECT_EQ(dropped, 1u);
  b_.sink().Hold(false);
  EXPECT_TRUE(b_.sink().WaitForCount<Received>(sent - dropped));
}

TEST_F(PeerLinkTest, LargeEntriesPass) {
  Connect();
  const std::vector<EntryPtr> entries = MakeEntries(2, 33u << 20);
  a_.transport().Send(MakeAppend(a_.id(), b_.id(), {entries[0]}));
  ASSERT_TRUE(b_.sink().WaitForCount<Received>(1));
  a_.transport().Send(MakeAppend(a_.id(), b_.id(), {entries[1]}, entries[0]->point()));
  ASSERT_TRUE(b_.sink().WaitForCount<Received>(2));
  const std::vector<Received> received = b_.sink().All<Received>();
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(std::get<AppendMessage>(received[i].message.body).entries[0]->frame(),
              entries[i]->frame());
  }
  EXPECT_TRUE(a_.sink().Breaks().empty());
}

TEST_F(PeerLinkTest, WhatNoPeerWouldTakeIsDroppedAndTheLinkStands) {
  Connect();
  a_.transport().Send(MakeAppend(a_.id(), b_.id(), MakeEntries(1, 64u << 20)));
  EXPECT_EQ(a_.transport().Stats(b_.id()).dropped, 1u);
  a_.transport().Send(Heartbeat(1));
  ASSERT_TRUE(b_.sink().WaitForCount<Received>(1));
  EXPECT_TRUE(a_.sink().Breaks().empty());
}

TEST_F(PeerLinkTest, GarbageOnThePortHarmsNobody) {
  Connect();
  Random random(3);
  for (int round = 0; round < 20; ++round) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(b_.port()))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::string bytes = round % 2 == 0 ? "" : "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (int i = 0; i < 4000; ++i) bytes += static_cast<char>(random.Below(256));
    send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    char answer[256];
    while (recv(fd, answer, sizeof(answer), 0) > 0) {
    }
    close(fd);
  }
  a_.transport().Send(Heartbeat(1));
  EXPECT_TRUE(b_.sink().WaitForCount<Received>(1));
  EXPECT_TRUE(a_.sink().Breaks().empty());
}

TEST_F(PeerLinkTest, ARemovedPeerIsLetGoAndAMovedOneIsFollowed) {
  Connect();
  TestNode moved(Identity("n2"));
  ASSERT_TRUE(moved.StartServer());
  moved.SetPeers({a_.address()});
  a_.SetPeers({moved.address()});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(2));
  a_.transport().Send(Heartbeat(1));
  EXPECT_TRUE(moved.sink().WaitForCount<Received>(1));
  EXPECT_TRUE(b_.sink().All<Received>().empty());
  a_.SetPeers({});
  a_.transport().Send(Heartbeat(2));
  EXPECT_FALSE(a_.transport().Stats(b_.id()).up);
}

TEST_F(PeerLinkTest, APeerCountsAsDownUntilItsLinkStands) {
  b_.StopServer();
  a_.SetPeers({b_.address()});
  ASSERT_EQ(a_.sink().Values().size(), 1u);
  EXPECT_EQ(a_.sink().All<LinkDown>()[0].peer, b_.id());
  EXPECT_FALSE(a_.sink().All<LinkDown>()[0].refused);
  a_.SetPeers({b_.address()});  // says nothing new
  EXPECT_EQ(a_.sink().Values().size(), 1u);
}

// What is posted of a link of old must not be taken for the state of the new one.
TEST_F(PeerLinkTest, APeerThatMovesCountsAsDownUntilItsNewLinkStands) {
  Connect();
  const FreePort nowhere;
  for (int round = 1; round <= 30; ++round) {
    SCOPED_TRACE(round);
    a_.SetPeers({{b_.id(), "n2", nowhere.address()}});
    const std::vector<Event> events = a_.sink().Values();
    ASSERT_TRUE(std::holds_alternative<LinkDown>(events.back()));
    a_.SetPeers({b_.address()});
    ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1 + static_cast<size_t>(round)));
  }
}

TEST_F(PeerLinkTest, WhoIsRefusedByANewMembershipLosesItsStreams) {
  Connect();
  EXPECT_EQ(b_.service().IncarnationOf(a_.id()), 7u);
  EXPECT_EQ(b_.service().IncarnationOf(NodeIdOf("n3")), std::nullopt);
  MembershipsInForce next = MembershipsOf({a_.address()}, Index(9));
  next.newest.membership.members[0].incarnation = 8;
  b_.gate().SetMemberships(next);
  b_.service().Recheck();
  EXPECT_TRUE(a_.sink().WaitForBreaks(1));
  EXPECT_TRUE(a_.notices().WaitForText(
      "n1 has incarnation 0000000000000007, n2 knows it as 0000000000000008"));
  EXPECT_TRUE(WaitUntil(std::chrono::seconds(20),
                        [&] { return b_.service().IncarnationOf(a_.id()) == std::nullopt; }));
  // Its own link to there goes as well.
  EXPECT_TRUE(b_.sink().Breaks().empty());
  b_.transport().SetPeers({a_.address()});
  EXPECT_TRUE(b_.sink().WaitForBreaks(1));
  EXPECT_TRUE(b_.notices().WaitForText("lost the link to n1"));
  // Let in again, both come back by themselves.
  b_.Admit({a_.address()});
  EXPECT_TRUE(a_.sink().WaitForCount<LinkUp>(2));
  EXPECT_TRUE(b_.sink().WaitForCount<LinkUp>(2));
}

TEST_F(PeerLinkTest, AfterStopNothingIsPosted) {
  Connect();
  for (int i = 0; i < 100; ++i)
    a_.transport().Send(MakeAppend(a_.id(), b_.id(), MakeEntries(1, 5000)));
  a_.transport().Stop();
  a_.service().Stop();
  const size_t posted = a_.sink().Values().size();
  a_.transport().Send(Heartbeat(1));
  a_.transport().Kick(b_.id());
  a_.SetPeers({b_.address()});
  // Its streams to a_ break and are refused.
  ASSERT_TRUE(b_.sink().WaitForBreaks(1));
  ASSERT_TRUE(b_.notices().WaitForText("the node is stopping"));
  EXPECT_EQ(a_.sink().Values().size(), posted);
}

TEST_F(PeerLinkTest, AServerThatNeverAnswersTheHelloIsTriedAgain) {
  // Listens, so that the kernel completes connections, and never accepts one.
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd, 16), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  TestNode c(Identity("n3"), {.hello_timeout_ms = 50});
  PeerAddress silent = b_.address();
  silent.address = fmt::format("127.0.0.1:{}", ntohs(address.sin_port));
  c.SetPeers({silent});
  EXPECT_TRUE(c.notices().WaitForText("it did not answer within 50 ms"));
  EXPECT_TRUE(c.sink().All<LinkUp>().empty());
  close(fd);
  EXPECT_TRUE(c.notices().WaitForText("nobody listens there"));
}

TEST_F(PeerLinkTest, AnAddressThatIsNoneIsReportedInWords) {
  TestNode c(Identity("n3"));
  PeerAddress nowhere = b_.address();
  nowhere.address = "nowhere";
  c.SetPeers({nowhere});
  EXPECT_TRUE(c.notices().WaitForText("`nowhere` is not of the form host:port"));
}

TEST(Probe, TellsListeningFromRefused) {
  const auto free_port = Resolve("127.0.0.1:1");
  ASSERT_TRUE(free_port.ok()) << free_port.status();
  EXPECT_EQ((*free_port)[0].Target(), "ipv4:127.0.0.1:1");
  EXPECT_EQ(Probe((*free_port)[0], 100), ProbeResult::kRefused);
  const auto v6 = Resolve("[::1]:7411");
  ASSERT_TRUE(v6.ok()) << v6.status();
  EXPECT_EQ((*v6)[0].Target(), "ipv6:[::1]:7411");
  EXPECT_FALSE(Resolve("127.0.0.1:").ok());
  EXPECT_FALSE(Resolve("").ok());
}

}  // namespace
}  // namespace skein
