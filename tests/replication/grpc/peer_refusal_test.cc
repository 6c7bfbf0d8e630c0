#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "common/checksum.h"
#include "common/error.h"
#include "skein/v1/replication.grpc.pb.h"
#include "tests/replication/grpc/peer_fixture.h"

namespace skein {
namespace {

TEST(HelloGate, NamesBothValuesOfEachMismatch) {
  HelloGate gate(Identity("n2"), "127.0.0.1:2", [](const Hello& hello) {
    return hello.sender.incarnation == 7 ? absl::OkStatus()
                                         : absl::FailedPreconditionError("incarnation 8, known 7");
  });
  gate.SetMemberships(MembershipsOf({{NodeIdOf("n1"), "n1", "127.0.0.1:1"}}));
  const Hello good{Identity("n1"), NodeIdOf("n2"), Index(), "127.0.0.1:1"};
  EXPECT_TRUE(gate.Check(good).ok());
  const auto refused = [&gate](const Hello& hello, const std::string& words) {
    const absl::Status status = gate.Check(hello);
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_NE(MessageOf(status).find(words), std::string::npos) << status;
  };
  Hello hello = good;
  hello.sender.cluster_id = 0xc2;
  refused(hello, "n1 belongs to cluster 00000000000000c2, n2 belongs to cluster 00000000000000c1");
  hello = good;
  hello.sender.protocol_version = 4;
  hello.sender.oldest_protocol_version = 3;
  refused(hello,
          "n1 speaks protocol versions 3 to 4, n2 speaks protocol versions 1 to 2: "
          "upgrade n2");
  hello = good;
  hello.to = NodeId(0x77);
  refused(hello, "n1 wants to talk to node id 0000000000000077, but this is n2");
  hello = good;
  hello.sender.node = NodeIdOf("n9");
  refused(hello,
          "n2 goes by the membership of index 0: n1 is not a member of this cluster (any more)");
  hello = good;
  hello.sender.node = NodeIdOf("n2");
  refused(hello, "of n2 itself");
  hello = good;
  hello.sender.incarnation = 8;
  refused(hello, "incarnation 8, known 7");
}

// R27: whoever shares a version is let in, older or newer.
TEST(HelloGate, LetsInWhoSharesAVersion) {
  PeerIdentity self = Identity("n2");
  self.oldest_protocol_version = 2;
  self.protocol_version = 3;
  HelloGate gate(self, "127.0.0.1:2", nullptr);
  gate.SetMemberships(MembershipsOf({{NodeIdOf("n1"), "n1", "127.0.0.1:1"}}));
  const auto words = [&gate](uint32_t oldest, uint32_t newest) {
    PeerIdentity sender = Identity("n1");
    sender.oldest_protocol_version = oldest;
    sender.protocol_version = newest;
    return MessageOf(gate.Check({sender, NodeIdOf("n2"), Index(), "127.0.0.1:1"}));
  };
  EXPECT_EQ(words(1, 2), "");
  EXPECT_EQ(words(2, 2), "");
  EXPECT_EQ(words(3, 9), "");
  EXPECT_EQ(words(1, 9), "");
  EXPECT_EQ(words(1, 1),
            "n1 speaks protocol version 1, n2 speaks protocol versions 2 to 3: upgrade n1");
  EXPECT_EQ(words(4, 5),
            "n1 speaks protocol versions 4 to 5, n2 speaks protocol versions 2 to 3: upgrade n2");
}

TEST(HelloGate, TellsWhoWasLeftBehindByARecovery) {
  const auto with_history = [](const std::string& name, uint64_t history) {
    PeerIdentity identity = Identity(name);
    identity.history = history;
    identity.cluster_id ^= history;
    return identity;
  };
  const auto refusal = [](const PeerIdentity& self, const PeerIdentity& sender) {
    HelloGate gate(self, "127.0.0.1:2", {});
    gate.SetMemberships(MembershipsOf({{NodeIdOf("n1"), "n1", "127.0.0.1:1"}}));
    return MessageOf(gate.Check({sender, NodeIdOf("n2"), Index(), "127.0.0.1:1"}));
  };
  const PeerIdentity n2 = with_history("n2", 0x50);
  EXPECT_EQ(refusal(n2, with_history("n1", 0x50)), "");
  EXPECT_NE(refusal(n2, with_history("n1", 0))
                .find("recovered from the loss of a majority without "
                      "n1: stop n1"),
            std::string::npos);
  EXPECT_NE(refusal(n2, with_history("n1", 0x60)).find("without one of them"), std::string::npos);
  PeerIdentity stranger = with_history("n1", 0x50);
  stranger.cluster_id ^= 1;
  EXPECT_NE(refusal(n2, stranger).find("correct the addresses"), std::string::npos);
}

Hello HelloOf(const std::string& name, uint64_t incarnation, uint64_t membership_index) {
  PeerIdentity sender = Identity(name);
  sender.incarnation = incarnation;
  return {sender, NodeIdOf("n2"), Index(membership_index), "127.0.0.1:" + name.substr(1)};
}

// Refuses everybody whom it is asked about.
absl::Status NeverMet(const Hello&) { return absl::FailedPreconditionError("asked the peers"); }

TEST(HelloGate, GoesByTheMembershipsInForce) {
  HelloGate gate(Identity("n2"), "127.0.0.1:2", NeverMet);
  MembershipsInForce mine = MembershipsOf({{NodeIdOf("n1"), "n1", "127.0.0.1:1"}}, Index(5));
  mine.newest.index = Index(8);
  mine.newest.membership.members[0].incarnation = 7;
  mine.newest.membership.members.push_back(
      {.id = NodeIdOf("n3"), .name = "n3", .address = "127.0.0.1:3"});
  mine.committed.membership.members.push_back(
      {.id = NodeIdOf("n4"), .name = "n4", .address = "127.0.0.1:4", .incarnation = 7});
  gate.SetMemberships(mine);
  const auto words = [&gate](const Hello& hello) { return MessageOf(gate.Check(hello)); };

  // The newest membership has its incarnation; nothing else is asked.
  EXPECT_EQ(words(HelloOf("n1", 7, 0)), "");
  EXPECT_EQ(words(HelloOf("n1", 8, 8)),
            "n1 has incarnation 0000000000000008, n2 knows it as 0000000000000007: n1 comes with "
            "another data directory than the one that the cluster knows: its promises are lost; "
            "remove it from the cluster and add it again");
  // It does not have that of n3: what was seen of it decides.
  EXPECT_EQ(words(HelloOf("n3", 7, 0)), "asked the peers");
  EXPECT_TRUE(gate.CheckMember(HelloOf("n3", 7, 0)).ok());
  // Removed, but that is not committed.
  EXPECT_EQ(words(HelloOf("n4", 7, 0)), "");
  EXPECT_NE(words(HelloOf("n4", 9, 0)), "");
  // Who knows a newer one may have been removed and added again in it.
  EXPECT_EQ(words(HelloOf("n1", 8, 9)), "");
  EXPECT_EQ(words(HelloOf("n3", 9, 9)), "");
  // Who is in neither may know of a newer one, in which it is.
  EXPECT_EQ(words(HelloOf("n5", 7, 9)), "");
  EXPECT_EQ(words(HelloOf("n5", 7, 8)),
            "n2 goes by the membership of index 8: n5 is not a member of this cluster (any more): "
            "add it by `skein member add n5 127.0.0.1:5`, or stop it");
}

TEST(HelloGate, SaysWhereThisNodeIsReachedAndWhatItKnows) {
  HelloGate gate(Identity("n2"), "127.0.0.1:2", nullptr);
  Hello hello = gate.HelloTo(NodeIdOf("n1"));
  EXPECT_EQ(hello.sender.node, NodeIdOf("n2"));
  EXPECT_EQ(hello.to, NodeIdOf("n1"));
  EXPECT_EQ(hello.membership_index, Index(0));
  EXPECT_EQ(hello.address, "127.0.0.1:2");
  gate.SetMemberships(MembershipsOf({{NodeIdOf("n2"), "n2", "10.0.0.2:7411"}}, Index(5)));
  hello = gate.HelloTo(NodeIdOf("n1"));
  EXPECT_EQ(hello.membership_index, Index(5));
  EXPECT_EQ(hello.address, "10.0.0.2:7411");
}

// Two nodes that know each other and do not get along: what each of them says about it.
struct Mismatch {
  std::string name;
  std::function<void(PeerIdentity*)> change;  // to n1, as n2 hears of it
  std::string words;
};

class HelloMismatch : public testing::TestWithParam<Mismatch> {};

TEST_P(HelloMismatch, IsRefusedInWordsOnBothEnds) {
  PeerIdentity identity = Identity("n1");
  GetParam().change(&identity);
  TestNode a(identity, {.reconnect_backoff_max_ms = 30});
  TestNode b(Identity("n2"), {.reconnect_backoff_max_ms = 30}, [](const Hello& hello) {
    return hello.sender.incarnation == 7
               ? absl::OkStatus()
               : absl::FailedPreconditionError("n1 has another data directory: remove and add it");
  });
  ASSERT_TRUE(a.StartServer());
  ASSERT_TRUE(b.StartServer());
  b.SetPeers({{NodeIdOf("n1"), "n1", a.address().address}});
  a.SetPeers({b.address()});
  EXPECT_TRUE(b.notices().WaitForText("refused the stream of n1: "));
  EXPECT_TRUE(b.notices().WaitForText(GetParam().words));
  EXPECT_TRUE(a.notices().WaitForText("no link to n2"));
  EXPECT_TRUE(a.notices().WaitForText(GetParam().words));
  a.transport().Send({a.id(), b.id(), Term(1), HeartbeatMessage{}});
  EXPECT_FALSE(a.transport().Stats(b.id()).up);
  EXPECT_TRUE(a.sink().All<LinkUp>().empty());
  EXPECT_TRUE(b.sink().All<Received>().empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, HelloMismatch,
    testing::Values(
        Mismatch{"Cluster", [](PeerIdentity* n1) { n1->cluster_id = 0xc2; },
                 "n1 belongs to cluster 00000000000000c2, n2 belongs to cluster 00000000000000c1"},
        Mismatch{"TooNew",
                 [](PeerIdentity* n1) {
                   n1->protocol_version = n1->oldest_protocol_version = kProtocolVersion + 1;
                 },
                 "n1 speaks protocol version 3, n2 speaks protocol versions 1 to 2: upgrade n2"},
        Mismatch{"TooOld",
                 [](PeerIdentity* n1) { n1->protocol_version = n1->oldest_protocol_version = 0; },
                 "n1 speaks protocol version 0, n2 speaks protocol versions 1 to 2: upgrade n1"},
        Mismatch{"History",
                 [](PeerIdentity* n1) {
                   n1->history = 0x50;
                   n1->cluster_id ^= n1->history;
                 },
                 "the cluster was recovered from the loss of a majority without n2: stop n2"},
        Mismatch{
            "Node", [](PeerIdentity* n1) { n1->node = NodeIdOf("n9"); },
            "n2 goes by the membership of index 0: n1 is not a member of this cluster (any more)"},
        Mismatch{"Incarnation", [](PeerIdentity* n1) { n1->incarnation = 8; },
                 "n1 has another data directory: remove and add it"}),
    [](const testing::TestParamInfo<Mismatch>& info) { return info.param.name; });

TEST(PeerVersion, IsToldWithTheLink) {
  PeerIdentity old = Identity("n1");
  old.protocol_version = 1;
  TestNode a(old);
  TestNode b(Identity("n2"));
  ASSERT_TRUE(a.StartServer());
  ASSERT_TRUE(b.StartServer());
  a.SetPeers({b.address()});
  b.SetPeers({a.address()});
  ASSERT_TRUE(a.sink().WaitForCount<LinkUp>(1));
  ASSERT_TRUE(b.sink().WaitForCount<LinkUp>(1));
  EXPECT_EQ(a.sink().All<LinkUp>()[0].version, kProtocolVersion);
  EXPECT_EQ(b.sink().All<LinkUp>()[0].version, 1u);
}

TEST(PeerRefusal, IsReportedOnceHoweverOftenItHappens) {
  PeerIdentity other = Identity("n1");
  other.cluster_id = 0xc2;
  TestNode a(other, {.reconnect_backoff_min_ms = 1, .reconnect_backoff_max_ms = 1});
  TestNode b(Identity("n2"));
  ASSERT_TRUE(b.StartServer());
  b.Admit({a.address()});
  a.SetPeers({b.address()});
  ASSERT_TRUE(a.notices().WaitForText("belongs to cluster"));
  // By the end of the third life of the server there were several attempts in each.
  for (int i = 0; i < 3; ++i) {
    b.StopServer();
    ASSERT_TRUE(a.notices().WaitFor([i](const std::vector<std::string>& all) {
      return std::count_if(all.begin(), all.end(), [](const std::string& text) {
               return text.find("nobody listens there") != std::string::npos;
             }) > i;
    }));
    ASSERT_TRUE(b.StartServer());
    ASSERT_TRUE(a.notices().WaitFor([i](const std::vector<std::string>& all) {
      return std::count_if(all.begin(), all.end(), [](const std::string& text) {
               return text.find("belongs to cluster") != std::string::npos;
             }) > i + 1;
    }));
  }
  EXPECT_EQ(b.notices().Count("refused the stream of n1"), 1u);
}

TEST(PeerRefusal, TheAddressOfAnotherNodeIsNoticed) {
  TestNode a(Identity("n1"));
  TestNode c(Identity("n3"));
  ASSERT_TRUE(c.StartServer());
  c.Admit({a.address()});
  a.SetPeers({{NodeIdOf("n2"), "n2", c.address().address}});
  EXPECT_TRUE(a.notices().WaitForText("but this is n3"));
  EXPECT_TRUE(a.sink().All<LinkUp>().empty());
}

// A stream by hand, to say what no transport of ours says.
class RawStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(node_.StartServer());
    node_.Admit({{NodeIdOf("n1"), "n1", "127.0.0.1:1"}});
    stub_ = v1::Replication::NewStub(
        grpc::CreateChannel(node_.address().address, grpc::InsecureChannelCredentials()));
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    stream_ = stub_->Ship(&context_);
  }

  // With the checksum that an envelope ends with.
  bool Write(v1::PeerEnvelope envelope) {
    envelope.set_checksum(Checksum64(envelope.SerializeAsString()));
    return stream_->Write(envelope);
  }

  void SayHello() {
    v1::PeerEnvelope envelope;
    v1::PeerHello* hello = envelope.mutable_hello();
    hello->set_cluster_id(0xc1);
    hello->set_node_id(NodeIdOf("n1").value());
    hello->set_node_name("n1");
    hello->set_incarnation(7);
    hello->set_protocol_version(kProtocolVersion);
    hello->set_to_node_id(node_.id().value());
    ASSERT_TRUE(Write(envelope));
    v1::PeerAnswer answer;
    ASSERT_TRUE(stream_->Read(&answer));
    EXPECT_EQ(answer.hello().node_id(), node_.id().value());
    EXPECT_EQ(answer.hello().to_node_id(), NodeIdOf("n1").value());
  }

  static v1::PeerEnvelope ReceiptWanted(uint64_t number) {
    v1::PeerEnvelope envelope;
    envelope.set_receipt_wanted(number);
    return envelope;
  }

  v1::PeerEnvelope Heartbeat() {
    v1::PeerEnvelope envelope;
    v1::PeerMessage* message = envelope.mutable_messages()->add_messages();
    message->set_from(NodeIdOf("n1").value());
    message->set_to(node_.id().value());
    message->mutable_heartbeat()->set_round(1);
    return envelope;
  }

  void ExpectRefused(const v1::PeerEnvelope& envelope, const std::string& words) {
    Write(envelope);
    v1::PeerAnswer answer;
    EXPECT_FALSE(stream_->Read(&answer));
    const grpc::Status status = stream_->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(status.error_message().find(words), std::string::npos) << status.error_message();
    EXPECT_TRUE(node_.notices().WaitForText(words));
  }

  TestNode node_{Identity("n2")};
  grpc::ClientContext context_;
  std::unique_ptr<v1::Replication::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::PeerEnvelope, v1::PeerAnswer>> stream_;
};

TEST_F(RawStreamTest, GoodMessagesPass) {
  SayHello();
  ASSERT_TRUE(Write(Heartbeat()));
  EXPECT_TRUE(node_.sink().WaitForCount<Received>(1));
}

TEST_F(RawStreamTest, AReceiptComesOnceEverythingBeforeItIsTaken) {
  SayHello();
  for (uint64_t number = 1; number <= 3; ++number) {
    ASSERT_TRUE(Write(Heartbeat()));
    ASSERT_TRUE(Write(Heartbeat()));
    ASSERT_TRUE(Write(ReceiptWanted(number)));
    v1::PeerAnswer answer;
    ASSERT_TRUE(stream_->Read(&answer));
    EXPECT_EQ(node_.sink().All<Received>().size(), 2 * number);
    EXPECT_EQ(answer.receipt(), number);
    const uint64_t checksum = answer.checksum();
    answer.clear_checksum();
    EXPECT_EQ(checksum, Checksum64(answer.SerializeAsString()));
  }
}

TEST_F(RawStreamTest, ManyWishesForReceiptsAtOnceAreAnsweredUpToTheLast) {
  SayHello();
  constexpr uint64_t kLast = 1000;
  for (uint64_t number = 1; number <= kLast; ++number) ASSERT_TRUE(Write(ReceiptWanted(number)));
  uint64_t receipt = 0;
  while (receipt < kLast) {
    v1::PeerAnswer answer;
    ASSERT_TRUE(stream_->Read(&answer));
    ASSERT_GT(answer.receipt(), receipt);
    receipt = answer.receipt();
  }
  EXPECT_EQ(receipt, kLast);
}

TEST_F(RawStreamTest, RefusesAWishForAReceiptBeforeTheHello) {
  ExpectRefused(ReceiptWanted(1), "a receipt wanted before the hello");
}

TEST_F(RawStreamTest, RefusesMessagesBeforeTheHello) {
  ExpectRefused(Heartbeat(), "messages before the hello");
  EXPECT_TRUE(node_.sink().Values().empty());
}

TEST_F(RawStreamTest, RefusesMessagesInTheNameOfAnother) {
  SayHello();
  v1::PeerEnvelope envelope = Heartbeat();
  envelope.mutable_messages()->mutable_messages(0)->set_from(NodeIdOf("n3").value());
  ExpectRefused(envelope, "on the stream of");
  EXPECT_TRUE(node_.sink().Values().empty());
}

TEST_F(RawStreamTest, RefusesMessagesForAnother) {
  SayHello();
  v1::PeerEnvelope envelope = Heartbeat();
  envelope.mutable_messages()->mutable_messages(0)->set_to(NodeIdOf("n3").value());
  ExpectRefused(envelope, "on the stream of");
}

TEST_F(RawStreamTest, RefusesADamagedEntry) {
  SayHello();
  v1::PeerEnvelope envelope = Heartbeat();
  std::string frame = MakeEntries(1, 100)[0]->frame();
  frame[70] = static_cast<char>(frame[70] ^ 4);
  envelope.mutable_messages()->mutable_messages(0)->mutable_append()->add_entries(frame);
  ExpectRefused(envelope, "checksum does not match");
  EXPECT_TRUE(node_.sink().Values().empty());
}

TEST_F(RawStreamTest, RefusesAnEnvelopeThatWasDamagedOnTheWay) {
  SayHello();
  v1::PeerEnvelope envelope = Heartbeat();
  envelope.set_checksum(Checksum64(envelope.SerializeAsString()));
  envelope.mutable_messages()->mutable_messages(0)->set_term(2);
  stream_->Write(envelope);
  v1::PeerAnswer answer;
  EXPECT_FALSE(stream_->Read(&answer));
  EXPECT_NE(stream_->Finish().error_message().find("damaged on the way"), std::string::npos);
  EXPECT_TRUE(node_.notices().WaitForText("refused the stream of n1: malformed: the checksum"));
  EXPECT_TRUE(node_.sink().Values().empty());
}

TEST_F(RawStreamTest, RefusesAnEmptyEnvelope) {
  SayHello();
  ExpectRefused(v1::PeerEnvelope(), "no content that this program knows");
}

}  // namespace
}  // namespace skein
