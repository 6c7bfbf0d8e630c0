// Who is let in and linked to as memberships change, and what becomes of senders that know more.
#include "server/membership_watch.h"

#include <gtest/gtest.h>

#include "tests/replication/grpc/peer_fixture.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

Member MemberOf(const std::string& name, const std::string& address, uint64_t incarnation = 0) {
  return {.id = NodeIdOf(name), .name = name, .address = address, .incarnation = incarnation};
}

MembershipAt At(uint64_t index, const std::vector<Member>& members) {
  return {Index(index), Membership{members}};
}

// n1, whose wire side the watch keeps, and n4, a node that runs. Nobody listens at `nowhere_`.
class MembershipWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    LogOptions log;
    log.level = "off";
    logger_ = std::move(Logger::Create(log, "n1").value());
    directory_ = std::move(DataDirectory::Open(temp_.File("data"), "skein", "n1").value());
    Watch({}, Index());
    node_.OnAccepted([this](const Hello& hello) { watch_->OnAccepted(hello); });
    ASSERT_TRUE(node_.StartServer());
    ASSERT_TRUE(other_.StartServer());
  }
  void Watch(const std::map<std::string, std::string>& own_addresses, Index told) {
    watch_ = std::make_unique<MembershipWatch>(
        MembershipWatch::Parts{&node_.gate(), &node_.transport(), &node_.service(),
                               directory_.get(), logger_.get()},
        own_addresses, told);
  }

  void Use(const MembershipAt& committed, const MembershipAt& newest) {
    watch_->Use({committed, newest});
  }
  void Use(const MembershipAt& both) { Use(both, both); }
  Member Self() { return MemberOf("n1", node_.address().address); }
  Member Nowhere(const std::string& name, uint64_t incarnation = 0) {
    return MemberOf(name, nowhere_.address(), incarnation);
  }
  // How many links there have been to a node that does not run: each begins with this event.
  size_t LinksBegun(const std::string& name) {
    size_t links = 0;
    for (const LinkDown& down : node_.sink().All<LinkDown>()) {
      links += down.peer == NodeIdOf(name) ? 1 : 0;
    }
    return links;
  }
  Hello HelloOf(const std::string& name, uint64_t index, const std::string& address) {
    return {Identity(name), NodeIdOf("n1"), Index(index), address};
  }
  std::string AddressOf(const std::string& name) {
    const auto found = watch_->Find(NodeIdOf(name));
    return found ? found->address : "unknown";
  }

  TempDir temp_;
  FreePort nowhere_;
  std::unique_ptr<Logger> logger_;
  std::unique_ptr<DataDirectory> directory_;
  std::unique_ptr<MembershipWatch> watch_;
  TestNode node_{Identity("n1")};
  TestNode other_{Identity("n4")};
};

TEST_F(MembershipWatchTest, LinksGoToTheMembersOfBothMemberships) {
  Use(At(5, {Self(), Nowhere("n2"), Nowhere("n3")}));
  EXPECT_EQ(LinksBegun("n1"), 0u);
  EXPECT_EQ(LinksBegun("n2"), 1u);
  EXPECT_EQ(LinksBegun("n3"), 1u);
  // Who is removed stays until that is committed.
  Use(At(5, {Self(), Nowhere("n2"), Nowhere("n3")}), At(6, {Self(), Nowhere("n2")}));
  EXPECT_TRUE(node_.gate().Check(HelloOf("n3", 0, "")).ok());
  Use(At(5, {Self(), Nowhere("n2"), Nowhere("n3")}));
  EXPECT_EQ(LinksBegun("n3"), 1u);
  Use(At(6, {Self(), Nowhere("n2")}));
  EXPECT_FALSE(node_.gate().Check(HelloOf("n3", 0, "")).ok());
  Use(At(7, {Self(), Nowhere("n2"), Nowhere("n3")}));
  EXPECT_EQ(LinksBegun("n2"), 1u);
  EXPECT_EQ(LinksBegun("n3"), 2u);
}

TEST_F(MembershipWatchTest, AMemberThatMovesIsFollowed) {
  Use(At(5, {Self(), Nowhere("n4")}));
  other_.SetPeers({node_.address()});
  Use(At(6, {Self(), MemberOf("n4", other_.address().address)}));
  EXPECT_TRUE(node_.sink().WaitForCount<LinkUp>(1));
  EXPECT_EQ(AddressOf("n4"), other_.address().address);
}

TEST_F(MembershipWatchTest, OwnAddressesWinOverThoseOfTheCluster) {
  Watch({{"n4", other_.address().address}}, Index());
  other_.SetPeers({node_.address()});
  Use(At(5, {Self(), Nowhere("n4")}));
  EXPECT_TRUE(node_.sink().WaitForCount<LinkUp>(1));
  EXPECT_EQ(AddressOf("n4"), nowhere_.address());  // which is what others are told
}

// n4 leads by a membership that n1 has yet to hear of: n1 must be able to answer it.
TEST_F(MembershipWatchTest, AGuestGetsALinkToWhereItSaysItIs) {
  Use(At(5, {Self(), Nowhere("n2")}));
  MembershipsInForce newer = MembershipsOf({node_.address(), other_.address()}, Index(9));
  other_.gate().SetMemberships(newer);
  other_.transport().SetPeers({node_.address()});
  ASSERT_TRUE(node_.sink().WaitForCount<LinkUp>(1));
  EXPECT_EQ(node_.sink().All<LinkUp>()[0].peer, other_.id());
  node_.transport().Send({node_.id(), other_.id(), Term(1), HeartbeatAck{}});
  EXPECT_TRUE(other_.sink().WaitForCount<Received>(1));
  EXPECT_EQ(AddressOf("n4"), other_.address().address);
  // Named by the membership, it is the same node at the same place.
  Use(At(9, {Self(), Nowhere("n2"), MemberOf("n4", other_.address().address)}));
  EXPECT_TRUE(node_.transport().Stats(other_.id()).up);
  EXPECT_TRUE(node_.sink().Breaks().empty());
}

TEST_F(MembershipWatchTest, AGuestGoesWithAMembershipThatHasItNot) {
  Use(At(5, {Self(), Nowhere("n2")}));
  MembershipsInForce newer = MembershipsOf({node_.address(), other_.address()}, Index(9));
  other_.gate().SetMemberships(newer);
  other_.transport().SetPeers({node_.address()});
  ASSERT_TRUE(node_.sink().WaitForCount<LinkUp>(1));
  ASSERT_TRUE(other_.sink().WaitForCount<LinkUp>(1));
  Use(At(8, {Self(), Nowhere("n3")}));  // older than what the guest knows
  EXPECT_TRUE(node_.transport().Stats(other_.id()).up);
  Use(At(9, {Self(), Nowhere("n3")}));
  EXPECT_FALSE(node_.transport().Stats(other_.id()).up);
  EXPECT_EQ(AddressOf("n4"), "unknown");
  EXPECT_TRUE(other_.sink().WaitForBreaks(1));
  EXPECT_TRUE(other_.notices().WaitForText("n4 is not a member of this cluster"));
}

TEST_F(MembershipWatchTest, AMemberThatHasMovedByANewerMembershipIsAGuestThere) {
  Use(At(5, {Self(), Nowhere("n4")}));
  watch_->OnAccepted(HelloOf("n4", 5, other_.address().address));
  EXPECT_EQ(AddressOf("n4"), nowhere_.address());
  watch_->OnAccepted(HelloOf("n4", 6, "not an address"));
  EXPECT_EQ(AddressOf("n4"), nowhere_.address());
  other_.SetPeers({node_.address()});
  watch_->OnAccepted(HelloOf("n4", 6, other_.address().address));
  EXPECT_EQ(AddressOf("n4"), other_.address().address);
  EXPECT_TRUE(node_.sink().WaitForCount<LinkUp>(1));
}

TEST_F(MembershipWatchTest, WhoIsRefusedOrKnowsNothingNewIsNoGuest) {
  Use(At(5, {Self(), Nowhere("n2", 7)}));
  for (const char* name : {"n1", "n2", "n3"}) {
    watch_->OnAccepted(HelloOf(name, 5, nowhere_.address()));
  }
  EXPECT_EQ(AddressOf("n3"), "unknown");
  EXPECT_EQ(LinksBegun("n3"), 0u);
  EXPECT_EQ(LinksBegun("n2"), 1u);
}

TEST_F(MembershipWatchTest, GuestsAreFew) {
  Use(At(5, {Self()}));
  size_t known = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string name = "g" + std::to_string(i);
    watch_->OnAccepted(HelloOf(name, 6, nowhere_.address()));
    known += AddressOf(name) == "unknown" ? 0 : 1;
  }
  EXPECT_EQ(known, 16u);
}

TEST_F(MembershipWatchTest, TheDirectoryOfARemovedMemberIsForgotten) {
  Use(At(5, {Self(), Nowhere("n2"), Nowhere("n3", 7)}));
  const NodeId n2 = NodeIdOf("n2");
  const NodeId n3 = NodeIdOf("n3");
  ASSERT_TRUE(directory_->CheckPeer(n2, 1).ok());
  ASSERT_TRUE(directory_->CheckPeer(n3, 1).ok());
  Use(At(6, {Self(), Nowhere("n2"), Nowhere("n3", 7), Nowhere("n4")}));
  EXPECT_FALSE(directory_->CheckPeer(n2, 2).ok());
  EXPECT_FALSE(directory_->CheckPeer(n3, 2).ok());
  // Not before that is committed.
  Use(At(6, {Self(), Nowhere("n2"), Nowhere("n3", 7)}), At(7, {Self(), Nowhere("n3", 7)}));
  EXPECT_FALSE(directory_->CheckPeer(n2, 2).ok());
  Use(At(7, {Self(), Nowhere("n3", 7)}));
  EXPECT_TRUE(directory_->CheckPeer(n2, 2).ok());
  // Removed and added again, seen at once.
  Use(At(9, {Self(), Nowhere("n3")}));
  EXPECT_TRUE(directory_->CheckPeer(n3, 2).ok());
  // The same before the removal is known to be committed.
  const MembershipAt committed = At(9, {Self(), Nowhere("n3")});
  Use(committed, At(10, {Self()}));
  EXPECT_FALSE(directory_->CheckPeer(n3, 3).ok());
  Use(committed, At(11, {Self(), Nowhere("n3")}));
  EXPECT_TRUE(directory_->CheckPeer(n3, 3).ok());
  EXPECT_FALSE(directory_->CheckPeer(n3, 4).ok());
}

TEST_F(MembershipWatchTest, TheDirectoriesThatStreamsHaveShownAreToBeRecorded) {
  const Membership members =
      At(5, {MemberOf("n1", "a:1", 7), Nowhere("n2"), Nowhere("n4")}).membership;
  Use(At(5, members.members));
  EXPECT_FALSE(watch_->Unrecorded(members).has_value());
  const auto self = watch_->Unrecorded(At(5, {Self()}).membership);
  ASSERT_TRUE(self.has_value());
  EXPECT_EQ(self->id, node_.id());
  EXPECT_EQ(self->incarnation, 7u);
  other_.SetPeers({node_.address()});
  ASSERT_TRUE(other_.sink().WaitForCount<LinkUp>(1));
  const auto shown = watch_->Unrecorded(members);
  ASSERT_TRUE(shown.has_value());
  EXPECT_EQ(shown->id, other_.id());
  EXPECT_EQ(shown->incarnation, 7u);
  // Whose stream is gone may come back as another.
  other_.transport().Stop();
  EXPECT_TRUE(WaitUntil(seconds(20), [&] { return !watch_->Unrecorded(members).has_value(); }));
}

TEST(DescribeDifference, NamesWhatBecameOfWhom) {
  const auto difference = [](const std::vector<Member>& before, const std::vector<Member>& after) {
    return DescribeDifference(Membership{before}, Membership{after});
  };
  Member n1 = MemberOf("n1", "a:1", 7);
  Member learner = MemberOf("n2", "a:2");
  learner.voter = false;
  EXPECT_EQ(difference({n1}, {n1}), "");
  EXPECT_EQ(difference({n1}, {n1, learner}), "n2 is added as a learner at a:2");
  EXPECT_EQ(difference({n1, learner}, {n1, MemberOf("n2", "a:2")}), "n2 is a voter now");
  EXPECT_EQ(difference({n1, learner}, {learner}), "n1 is removed");
  EXPECT_EQ(difference({n1}, {MemberOf("n1", "a:3", 7)}), "n1 is at a:3 now");
  EXPECT_EQ(difference({MemberOf("n1", "a:1")}, {n1}), "n1 has shown its data directory");
  EXPECT_EQ(difference({n1}, {MemberOf("n1", "a:1")}), "n1 was removed and added again");
  EXPECT_EQ(difference({n1, learner}, {MemberOf("n3", "a:3")}),
            "n3 is added as a voter at a:3, n1 is removed, n2 is removed");
}

}  // namespace
}  // namespace skein
