// A link is up only as long as the peer takes what is sent, whatever the connection looks like.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "tests/replication/grpc/fake_peer.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kPatience{20};
constexpr milliseconds kReceiptTimeout{400};
constexpr char kNotConfirmed[] = "it did not confirm within 400 ms that it takes what is sent";

PeerTransportOptions Options() {
  return {.receipt_timeout_ms = static_cast<int>(kReceiptTimeout.count())};
}

class PeerReceiptTest : public testing::Test {
 protected:
  Message Heartbeat() const {
    return {a_.id(), NodeIdOf("n2"), Term(1), HeartbeatMessage{.round = 1}};
  }
  Message Append() const { return MakeAppend(a_.id(), NodeIdOf("n2"), MakeEntries(1, 100'000)); }

  // How long the link stood after `message` was sent.
  milliseconds TimeUntilDown(const Message& message) {
    const size_t downs = a_.sink().Breaks().size();
    const auto sent = steady_clock::now();
    a_.transport().Send(message);
    EXPECT_TRUE(a_.sink().WaitForBreaks(downs + 1));
    return std::chrono::duration_cast<milliseconds>(steady_clock::now() - sent);
  }

  // Lets pass twice the time after which a link to a peer that takes nothing is given up.
  static void PassTwiceTheTimeout() {
    FakePeer swallower(Identity("n2"), FakePeer::Swallow);
    TestNode clock(Identity("n1"), Options());
    clock.SetPeers({swallower.address()});
    for (size_t round = 1; round <= 2; ++round) {
      ASSERT_TRUE(clock.sink().WaitForCount<LinkUp>(round));
      clock.transport().Send(
          {clock.id(), NodeIdOf("n2"), Term(1), HeartbeatMessage{.round = round}});
      ASSERT_TRUE(clock.sink().WaitForBreaks(round));
    }
  }

  TestNode a_{Identity("n1"), Options()};
};

TEST_F(PeerReceiptTest, APeerThatSwallowsIsLeftAndMetAgain) {
  FakePeer swallower(Identity("n2"), FakePeer::Swallow);
  a_.SetPeers({swallower.address()});
  size_t ups = 0;
  for (const Message& message : {Heartbeat(), Append(), Heartbeat()}) {
    ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(++ups));
    const milliseconds stood = TimeUntilDown(message);
    EXPECT_GE(stood, kReceiptTimeout);
    EXPECT_LT(stood, 10 * kReceiptTimeout);
  }
  EXPECT_TRUE(a_.notices().WaitForText("lost the link to n2"));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return a_.notices().Count(kNotConfirmed) == 3; }));
  for (const LinkDown& down : a_.sink().Breaks()) EXPECT_FALSE(down.refused);
  EXPECT_EQ(swallower.messages(), 3u);
  // One for each break: a peer that is silent is not asked again and again.
  EXPECT_EQ(swallower.receipts_wanted(), 3u);
}

TEST_F(PeerReceiptTest, GoesOnWithAPeerThatHasRecovered) {
  std::atomic<bool> swallows{true};
  FakePeer peer(Identity("n2"), [&](uint64_t number, v1::PeerAnswer* answer) {
    return !swallows && FakePeer::GiveReceipt(number, answer);
  });
  a_.SetPeers({peer.address()});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
  TimeUntilDown(Heartbeat());
  swallows = false;
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(2));
  const uint64_t asked = peer.receipts_wanted();
  uint64_t sent = 0;
  // A wait for a receipt that never ends would end the link meanwhile.
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    a_.transport().Send(++sent % 2 == 0 ? Heartbeat() : Append());
    return peer.receipts_wanted() >= asked + 20;
  }));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return peer.messages() == 1 + sent; }));
  EXPECT_EQ(a_.sink().Breaks().size(), 1u);
  // Few, however much is sent.
  EXPECT_LT(peer.receipts_wanted(), sent);
}

TEST_F(PeerReceiptTest, ALinkWithNothingToSendStaysUpAndQuiet) {
  FakePeer swallower(Identity("n2"), FakePeer::Swallow);
  a_.SetPeers({swallower.address()});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
  PassTwiceTheTimeout();
  EXPECT_TRUE(a_.sink().Breaks().empty());
  EXPECT_EQ(swallower.receipts_wanted(), 0u);
  EXPECT_TRUE(a_.transport().Stats(NodeIdOf("n2")).up);
}

TEST_F(PeerReceiptTest, WithEverythingConfirmedALinkIsQuietAgain) {
  FakePeer peer(Identity("n2"), FakePeer::GiveReceipt);
  a_.SetPeers({peer.address()});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
  a_.transport().Send(Heartbeat());
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return peer.receipts_wanted() == 1; }));
  PassTwiceTheTimeout();
  EXPECT_EQ(peer.receipts_wanted(), 1u);
  EXPECT_TRUE(a_.sink().Breaks().empty());
}

TEST_F(PeerReceiptTest, APeerThatConfirmsLateButInTimeIsKept) {
  TestNode b(Identity("n2"));
  ASSERT_TRUE(b.StartServer());
  b.Admit({a_.address()});
  FaultProxy proxy;
  const FreePort port;
  const int link = proxy.AddLink(port.number(), b.port());
  a_.SetPeers({{b.id(), "n2", port.address()}});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
  const uint64_t before = proxy.Stats(link).delivered;
  const milliseconds quarter = kReceiptTimeout / 4;
  proxy.Set(link, {.forward = {.delay = quarter}, .backward = {.delay = quarter}});
  a_.transport().Send(Heartbeat());
  a_.transport().Send(Append());
  PassTwiceTheTimeout();
  EXPECT_TRUE(b.sink().WaitForCount<Received>(2));
  EXPECT_GT(proxy.Stats(link).delivered, before);
  EXPECT_TRUE(a_.sink().Breaks().empty());
}

TEST_F(PeerReceiptTest, ALargeMessageOnASlowNetworkIsWaitedForLonger) {
  TestNode b(Identity("n2"));
  ASSERT_TRUE(b.StartServer());
  b.Admit({a_.address()});
  FaultProxy proxy;
  const FreePort port;
  const int link = proxy.AddLink(port.number(), b.port());
  a_.SetPeers({{b.id(), "n2", port.address()}});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
  constexpr size_t kBytes = 40u << 20;
  constexpr int kSeconds = 2;
  proxy.Set(link, {.forward = {.bytes_per_second = kBytes / kSeconds}});
  const auto sent = steady_clock::now();
  a_.transport().Send(MakeAppend(a_.id(), b.id(), MakeEntries(1, kBytes)));
  ASSERT_TRUE(b.sink().WaitForCount<Received>(1));
  EXPECT_GT(steady_clock::now() - sent, 2 * kReceiptTimeout);
  EXPECT_TRUE(a_.sink().Breaks().empty());
}

// What it was sent waits in its windows and buffers; the connection itself answers.
TEST_F(PeerReceiptTest, APeerThatIsStuckIsLeftAndMetAgain) {
  TestNode b(Identity("n2"));
  ASSERT_TRUE(b.StartServer());
  b.Admit({a_.address()});
  a_.SetPeers({b.address()});
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(1));
  b.sink().Hold(true);
  EXPECT_GE(TimeUntilDown(Heartbeat()), kReceiptTimeout);
  ASSERT_TRUE(a_.sink().WaitForCount<LinkUp>(2));
  b.sink().Hold(false);
  ASSERT_TRUE(b.sink().WaitForCount<Received>(1));
  a_.transport().Send(Heartbeat());
  EXPECT_TRUE(b.sink().WaitForCount<Received>(2));
  PassTwiceTheTimeout();
  EXPECT_EQ(a_.sink().Breaks().size(), 1u);
}

struct BadAnswer {
  std::string name;
  FakePeer::Reply reply;
  std::string words;
};

class BadAnswerTest : public testing::TestWithParam<BadAnswer> {};

TEST_P(BadAnswerTest, BreaksTheLink) {
  FakePeer peer(Identity("n2"), GetParam().reply);
  // Nobody waits for the time to be over here.
  TestNode a(Identity("n1"), {.receipt_timeout_ms = 4000});
  a.SetPeers({peer.address()});
  ASSERT_TRUE(a.sink().WaitForCount<LinkUp>(1));
  a.transport().Send({a.id(), NodeIdOf("n2"), Term(1), HeartbeatMessage{.round = 1}});
  ASSERT_TRUE(a.sink().WaitForBreaks(1));
  EXPECT_TRUE(a.notices().WaitForText("lost the link to n2"));
  EXPECT_TRUE(a.notices().WaitForText(GetParam().words));
  EXPECT_TRUE(a.sink().WaitForCount<LinkUp>(2));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadAnswerTest,
    testing::Values(BadAnswer{"Damaged",
                              [](uint64_t number, v1::PeerAnswer* answer) {
                                answer->set_receipt(number);
                                answer->set_checksum(1);
                                return true;
                              },
                              "the checksum of a PeerAnswer does not match"},
                    BadAnswer{"OfAnotherNumber",
                              [](uint64_t number, v1::PeerAnswer* answer) {
                                return FakePeer::GiveReceipt(number + 1, answer);
                              },
                              "a receipt that was not asked for"},
                    BadAnswer{"SecondHello",
                              [](uint64_t, v1::PeerAnswer* answer) {
                                v1::PeerHello* hello = answer->mutable_hello();
                                hello->set_cluster_id(Identity("n2").cluster_id);
                                hello->set_node_id(NodeIdOf("n2").value());
                                hello->set_node_name("n2");
                                hello->set_incarnation(Identity("n2").incarnation);
                                hello->set_protocol_version(kProtocolVersion);
                                hello->set_to_node_id(NodeIdOf("n1").value());
                                return true;
                              },
                              "a second hello in answer"},
                    BadAnswer{"Empty", [](uint64_t, v1::PeerAnswer*) { return true; },
                              "no content that this program knows"}),
    [](const testing::TestParamInfo<BadAnswer>& info) { return info.param.name; });

// Nothing is sent, so that only the transport's own question can find out.
TEST(PeerKeepalive, ASilentConnectionIsGivenUp) {
  TestNode b(Identity("n2"));
  ASSERT_TRUE(b.StartServer());
  TestNode a(Identity("n1"), {.keepalive_ms = 100, .keepalive_timeout_ms = 200});
  b.Admit({a.address()});
  FaultProxy proxy;
  const FreePort port;
  const int link = proxy.AddLink(port.number(), b.port());
  a.SetPeers({{b.id(), "n2", port.address()}});
  ASSERT_TRUE(a.sink().WaitForCount<LinkUp>(1));
  proxy.Set(link, {.forward = {.drop = true}, .backward = {.drop = true}});
  EXPECT_TRUE(a.sink().WaitForBreaks(1));
  proxy.Heal(link);
  EXPECT_TRUE(a.sink().WaitForCount<LinkUp>(2));
}

}  // namespace
}  // namespace skein
