// What every Transport must keep, as a suite over a World (see world.h): three nodes, numbered from
// 0, whose processes begin and end. Instantiate it with INSTANTIATE_TYPED_TEST_SUITE_P. Beside its
// faults a World has
//
//   void Start(size_t node);  // a process begins, and knows the other two as its peers
//   void End(size_t node);    // it is gone, with its transport and whoever listened for it
//   NodeId Id(size_t node);
//   Transport& transport(size_t node);        // of the process that runs
//   TransportLog& log(size_t node);           // of the process that runs, or ran last
//   bool WaitUntil(const std::function<bool()>& done);
//   // So many messages, each of so many bytes, are more than fits on a link that is stalled.
//   static constexpr size_t kFillMessages;
//   static constexpr size_t kFillBytes;
//
// Whatever a test does, in the end everything that was posted is held against everything that was
// sent (transport_ledger.h).
#pragma once

#include <functional>
#include <vector>

#include "common/random.h"
#include "gtest/gtest.h"
#include "replication/transport.h"
#include "tests/contract/transport_ledger.h"
#include "tests/contract/world.h"

namespace skein {

template <typename World>
class TransportContract : public testing::Test {
 protected:
  static constexpr size_t kNodes = 3;

  void TearDown() override {
    for (size_t node = 0; node < kNodes; ++node) {
      if (running_[node]) Check(node);
    }
    if (!gaps_allowed_) {
      EXPECT_EQ(ledger_.MissingAmidOthers(), "");
    }
  }

  void Start(size_t node) {
    ++runs_[node];
    running_[node] = true;
    world_.Start(node);
  }
  void StartAll() {
    for (size_t node = 0; node < kNodes; ++node) Start(node);
    for (size_t from = 0; from < kNodes; ++from) {
      for (size_t to = 0; to < kNodes; ++to) {
        if (from != to) AwaitUp(from, to);
      }
    }
  }
  void End(size_t node) {
    world_.End(node);
    running_[node] = false;
    Check(node);
  }

  uint64_t Send(size_t from, size_t to, const MessageShape& shape = kOtherMessage) {
    const uint64_t serial = ++last_serial_;
    const NodeId peer = world_.Id(to);
    const size_t before = Standing(from, to);
    world_.transport(from).Send(MakeMessage(serial, shape, world_.Id(from), peer));
    const size_t standing = Standing(from, to) == before ? before : 0;
    ledger_.OnSent(serial, shape, {world_.Id(from), runs_[from]},
                   {peer, running_[to] ? runs_[to] : 0}, standing);
    return serial;
  }
  // One of each kind; the serial of the second.
  uint64_t SendBoth(size_t from, size_t to) {
    Send(from, to, kBulkMessage);
    return Send(from, to);
  }

  size_t Standing(size_t from, size_t to) { return world_.log(from).Standing(world_.Id(to)); }
  std::vector<LinkDown> Downs(size_t from, size_t to) {
    return world_.log(from).Downs(world_.Id(to));
  }
  bool Has(size_t node, uint64_t serial) { return world_.log(node).Has(serial); }

  // After the first that fails, none waits any more.
  void Await(const std::function<bool()>& done) {
    if (this->HasFatalFailure()) return;
    ASSERT_TRUE(world_.WaitUntil(done));
  }
  void AwaitUp(size_t from, size_t to) {
    Await([&] { return Standing(from, to) != 0; });
  }
  // Until it no longer stands as it did when it had come up `standing` times.
  void AwaitDown(size_t from, size_t to, size_t standing) {
    Await([&] { return Standing(from, to) != standing; });
  }
  // Until messages of both kinds pass.
  void AwaitPassage(size_t from, size_t to) {
    bool passed = false;
    while (!passed && !this->HasFatalFailure()) {
      AwaitUp(from, to);
      const size_t standing = Standing(from, to);
      const uint64_t last = SendBoth(from, to);
      Await([&] {
        passed = Has(to, last - 1) && Has(to, last);
        return passed || Standing(from, to) != standing;
      });
    }
  }

  // A queue may become full, or bytes are changed: messages may be missing amid others.
  void AllowGaps() { gaps_allowed_ = true; }

  void Check(size_t node) {
    EXPECT_EQ(ledger_.Check({world_.Id(node), runs_[node]}, world_.log(node)), "")
        << "at node " << node;
  }

  size_t runs_[kNodes] = {};
  bool running_[kNodes] = {};
  uint64_t last_serial_ = 0;
  bool gaps_allowed_ = false;
  TransportLedger ledger_;
  World world_;
};

TYPED_TEST_SUITE_P(TransportContract);

TYPED_TEST_P(TransportContract, LinksComeUpByThemselvesAndStay) {
  this->StartAll();
  for (size_t from = 0; from < this->kNodes; ++from) {
    for (size_t to = 0; to < this->kNodes; ++to) {
      if (from != to) this->AwaitPassage(from, to);
    }
  }
  for (size_t node = 0; node < this->kNodes; ++node) {
    EXPECT_EQ(this->world_.log(node).links().size(), this->kNodes - 1);
  }
}

TYPED_TEST_P(TransportContract, EveryKindOfMessageArrivesUnchangedAndInOrder) {
  this->StartAll();
  std::vector<size_t> sent(this->kNodes);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::pair<size_t, uint64_t>> last;
    for (size_t from = 0; from < this->kNodes; ++from) {
      for (size_t to = 0; to < this->kNodes; ++to) {
        if (from == to) continue;
        for (const MessageShape& shape : EveryShape()) this->Send(from, to, shape);
        last.emplace_back(to, this->SendBoth(from, to));
        sent[to] += EveryShape().size() + 2;
      }
    }
    for (const auto& [to, serial] : last) {
      this->Await([&] { return this->Has(to, serial - 1) && this->Has(to, serial); });
    }
  }
  for (size_t node = 0; node < this->kNodes; ++node) {
    EXPECT_EQ(this->world_.log(node).received().size(), sent[node]);
  }
}

TYPED_TEST_P(TransportContract, NothingWaitsForALink) {
  this->Start(0);
  this->Start(2);
  this->AwaitUp(0, 2);
  for (int i = 0; i < 10; ++i) this->SendBoth(0, 1);
  this->Start(1);
  this->AwaitPassage(0, 1);
  EXPECT_EQ(this->world_.log(1).received().size(), 2u);
  EXPECT_TRUE(this->Downs(0, 1).empty());
}

TYPED_TEST_P(TransportContract, WhatIsForStrangersOrForOneselfIsDropped) {
  this->StartAll();
  Transport& transport = this->world_.transport(0);
  for (const NodeId to : {NodeId(0), NodeId(77), this->world_.Id(0)}) {
    transport.Send(MakeMessage(1'000'000, kBulkMessage, this->world_.Id(0), to));
    transport.Send(MakeMessage(1'000'001, kOtherMessage, this->world_.Id(0), to));
  }
  this->AwaitPassage(0, 1);
  this->AwaitPassage(0, 2);
  EXPECT_TRUE(this->world_.log(0).received().empty());
}

TYPED_TEST_P(TransportContract, APeerThatEndsIsNoticedAndMetAgain) {
  this->StartAll();
  for (size_t round = 1; round <= 3; ++round) {
    const size_t downs = this->Downs(0, 1).size();
    this->SendBoth(0, 1);
    this->End(1);
    this->Await([&] {
      const std::vector<LinkDown> news = this->Downs(0, 1);
      return news.size() > downs && news.back().refused;
    });
    for (int i = 0; i < 10; ++i) this->SendBoth(0, 1);
    this->Start(1);
    this->AwaitPassage(0, 1);
    this->AwaitPassage(1, 0);
    EXPECT_EQ(this->Standing(0, 1), round + 1);
  }
  EXPECT_TRUE(this->Downs(0, 2).empty());
}

TYPED_TEST_P(TransportContract, WhatAProcessSentBeforeItsEndArrivesUpToSomePoint) {
  this->StartAll();
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 100; ++i) this->SendBoth(0, 1);
    this->End(0);
    const size_t posted = this->world_.log(0).posted();
    this->SendBoth(1, 0);
    this->AwaitPassage(1, 2);
    EXPECT_EQ(this->world_.log(0).posted(), posted);
    this->Start(0);
    this->AwaitPassage(0, 1);
    this->AwaitPassage(1, 0);
  }
}

TYPED_TEST_P(TransportContract, ALinkThatBreaksLosesATailAndComesUpAgain) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanBreak);
  this->StartAll();
  Random random(1);
  for (size_t round = 1; round <= 10; ++round) {
    this->AwaitUp(0, 1);
    const size_t standing = this->Standing(0, 1);
    const uint64_t break_at = random.Below(100);
    for (uint64_t i = 0; i < 100; ++i) {
      if (i == break_at) this->world_.Break(0, 1);
      this->SendBoth(0, 1);
    }
    this->AwaitDown(0, 1, standing);
    this->AwaitPassage(0, 1);
  }
  EXPECT_GE(this->Downs(0, 1).size(), 10u);
  for (const LinkDown& down : this->Downs(0, 1)) EXPECT_FALSE(down.refused);
  EXPECT_TRUE(this->Downs(0, 2).empty());
}

TYPED_TEST_P(TransportContract, AStalledLinkDelaysAndLosesNothing) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanStall);
  this->StartAll();
  for (int round = 0; round < 5; ++round) {
    this->AwaitPassage(0, 1);
    const size_t standing = this->Standing(0, 1);
    this->world_.Stall(0, 1);
    const uint64_t first = this->SendBoth(0, 1) - 1;
    for (int i = 0; i < 50; ++i) this->SendBoth(0, 1);
    this->AwaitPassage(0, 2);
    EXPECT_FALSE(this->Has(1, first + 1));
    this->world_.Release(0, 1);
    const auto all = [&] { return this->Has(1, first + 100) && this->Has(1, first + 101); };
    this->Await([&] { return all() || this->Standing(0, 1) != standing; });
    // On a slow machine it may have been given up, as one whose peer takes nothing.
    EXPECT_TRUE(all() || this->Standing(0, 1) != standing);
  }
}

TYPED_TEST_P(TransportContract, AFullQueueDropsAndHoldsUpNeitherSenderNorTheOtherKind) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanStall);
  constexpr size_t kVoteAck = 5;
  static_assert(std::is_same_v<std::variant_alternative_t<kVoteAck, MessageBody>, VoteAck>);
  const MessageShape bulk{.body = 0, .bulk = true, .bytes = TypeParam::kFillBytes};
  const MessageShape other{.body = kVoteAck, .bytes = TypeParam::kFillBytes};
  this->StartAll();
  this->AllowGaps();
  for (const auto& [full, small] :
       {std::pair(bulk, kOtherMessage), std::pair(other, kBulkMessage)}) {
    this->AwaitPassage(0, 1);
    const size_t standing = this->Standing(0, 1);
    const size_t before = this->world_.log(1).received().size();
    this->world_.Stall(0, 1);
    for (size_t i = 0; i < TypeParam::kFillMessages; ++i) this->Send(0, 1, full);
    const uint64_t beside = this->Send(0, 1, small);
    this->world_.Release(0, 1);
    this->Await([&] {
      this->Send(0, 1, full);
      return this->world_.log(1).HasSince(beside + 1);
    });
    EXPECT_LT(this->world_.log(1).received().size() - before, TypeParam::kFillMessages);
    this->Await([&] { return this->Has(1, beside) || this->Standing(0, 1) != standing; });
  }
}

TYPED_TEST_P(TransportContract, ALinkThatSwallowsIsGivenUpAndOpenedAnew) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanSwallow);
  this->StartAll();
  for (int round = 0; round < 2; ++round) {
    this->AwaitPassage(0, 1);
    const size_t standing = this->Standing(0, 1);
    this->world_.Swallow(0, 1);
    for (int i = 0; i < 20; ++i) this->SendBoth(0, 1);
    this->AwaitDown(0, 1, standing);
    this->AwaitPassage(0, 2);
    this->world_.Heal(0, 1);
    this->AwaitPassage(0, 1);
  }
}

TYPED_TEST_P(TransportContract, OfALinkThatIsDownItIsToldWhenNobodyListensAnyMore) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanSwallow);
  this->StartAll();
  const size_t standing = this->Standing(0, 1);
  this->world_.Swallow(0, 1);
  this->SendBoth(0, 1);
  this->AwaitDown(0, 1, standing);
  this->End(1);
  this->world_.Heal(0, 1);
  this->Await([&] { return this->Downs(0, 1).size() == 2; });
  if (this->HasFatalFailure()) return;
  EXPECT_FALSE(this->Downs(0, 1)[0].refused);
  EXPECT_TRUE(this->Downs(0, 1)[1].refused);
}

TYPED_TEST_P(TransportContract, WhatAnInterruptionSwallowedIsNotFollowedByWhatCameLater) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanSwallow);
  this->StartAll();
  for (int round = 0; round < 5; ++round) {
    this->AwaitPassage(0, 1);
    this->world_.Swallow(0, 1);
    for (int i = 0; i < 10; ++i) this->SendBoth(0, 1);
    this->AwaitPassage(0, 2);
    this->world_.Heal(0, 1);
    for (int i = 0; i < 10; ++i) this->SendBoth(0, 1);
    this->AwaitPassage(0, 1);
  }
}

TYPED_TEST_P(TransportContract, APeerThatIsCutOffIsNoticedAndMetAgain) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanCut);
  this->StartAll();
  for (int round = 0; round < 3; ++round) {
    this->AwaitPassage(0, 1);
    const size_t standing = this->Standing(0, 1);
    this->world_.Cut(0, 1);
    this->AwaitDown(0, 1, standing);
    for (int i = 0; i < 10; ++i) this->SendBoth(0, 1);
    this->AwaitPassage(0, 2);
    this->world_.Heal(0, 1);
    this->AwaitPassage(0, 1);
  }
  EXPECT_TRUE(this->Downs(0, 2).empty());
}

TYPED_TEST_P(TransportContract, DamagedBytesCostMessagesAndChangeNone) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanGarble);
  this->StartAll();
  this->AllowGaps();
  for (int round = 0; round < 20; ++round) {
    this->world_.Garble(0, 1);
    for (int i = 0; i < 5; ++i) this->SendBoth(0, 1);
    this->AwaitPassage(0, 1);
  }
  EXPECT_TRUE(this->Downs(0, 2).empty());
}

REGISTER_TYPED_TEST_SUITE_P(
    TransportContract, LinksComeUpByThemselvesAndStay, EveryKindOfMessageArrivesUnchangedAndInOrder,
    NothingWaitsForALink, WhatIsForStrangersOrForOneselfIsDropped,
    APeerThatEndsIsNoticedAndMetAgain, WhatAProcessSentBeforeItsEndArrivesUpToSomePoint,
    ALinkThatBreaksLosesATailAndComesUpAgain, AStalledLinkDelaysAndLosesNothing,
    AFullQueueDropsAndHoldsUpNeitherSenderNorTheOtherKind, ALinkThatSwallowsIsGivenUpAndOpenedAnew,
    OfALinkThatIsDownItIsToldWhenNobodyListensAnyMore,
    WhatAnInterruptionSwallowedIsNotFollowedByWhatCameLater, APeerThatIsCutOffIsNoticedAndMetAgain,
    DamagedBytesCostMessagesAndChangeNone);

}  // namespace skein
