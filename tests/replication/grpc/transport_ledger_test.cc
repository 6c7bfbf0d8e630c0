// The ledger of the transport's contract notices each way to break it.
#include "tests/contract/transport_ledger.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

const ProcessId kFrom{NodeId(1), 1};
const ProcessId kTo{NodeId(2), 1};

class TransportLedgerTest : public testing::Test {
 protected:
  // Sends messages 1 to `count`.
  void Send(uint64_t count, size_t standing = 1) {
    for (uint64_t serial = 1; serial <= count; ++serial) {
      ledger_.OnSent(serial, kOtherMessage, kFrom, kTo, standing);
    }
  }
  void Arrive(uint64_t serial) {
    log_.Post(Received{MakeMessage(serial, kOtherMessage, kFrom.node, kTo.node), 1});
  }
  std::string Check() {
    const std::string wrong = ledger_.Check(kTo, log_);
    return wrong + ledger_.MissingAmidOthers();
  }

  TransportLedger ledger_;
  TransportLog log_;
};

TEST_F(TransportLedgerTest, AllInOrderIsRight) {
  Send(3);
  for (uint64_t serial = 1; serial <= 3; ++serial) Arrive(serial);
  EXPECT_EQ(Check(), "");
}

TEST_F(TransportLedgerTest, ALostTailIsRight) {
  Send(3);
  Arrive(1);
  EXPECT_EQ(Check(), "");
}

TEST_F(TransportLedgerTest, ALostMiddleIsWrong) {
  Send(3);
  Arrive(1);
  Arrive(3);
  EXPECT_EQ(Check(), "message 3 arrived, but not 2 before it\n");
}

TEST_F(TransportLedgerTest, WhatIsSentAsALinkGoesDownMayBeLostAmidOthers) {
  Send(3, /*standing=*/0);
  Arrive(3);
  EXPECT_EQ(Check(), "");
}

TEST_F(TransportLedgerTest, AnotherOrderIsWrong) {
  Send(2);
  Arrive(2);
  Arrive(1);
  EXPECT_EQ(Check(), "message 1 arrived after 2\n");
}

TEST_F(TransportLedgerTest, KindsAndStandingsOfALinkDoNotWaitForEachOther) {
  ledger_.OnSent(1, kBulkMessage, kFrom, kTo, 1);
  ledger_.OnSent(2, kOtherMessage, kFrom, kTo, 1);
  ledger_.OnSent(3, kBulkMessage, kFrom, kTo, 2);
  Arrive(2);
  log_.Post(Received{MakeMessage(3, kBulkMessage, kFrom.node, kTo.node), 1});
  log_.Post(Received{MakeMessage(1, kBulkMessage, kFrom.node, kTo.node), 1});
  EXPECT_EQ(Check(), "");
}

TEST_F(TransportLedgerTest, TwiceIsWrong) {
  Send(1);
  Arrive(1);
  Arrive(1);
  EXPECT_EQ(Check(), "message 1 arrived twice\n");
}

TEST_F(TransportLedgerTest, TwiceIsWrongAlsoInTwoProcesses) {
  Send(1);
  Arrive(1);
  EXPECT_EQ(ledger_.Check(kTo, log_), "");
  EXPECT_EQ(ledger_.Check({kTo.node, 2}, log_),
            "message 1 was for another process\nmessage 1 arrived twice\n");
}

TEST_F(TransportLedgerTest, WhatNobodySentIsWrong) {
  Send(1);
  Arrive(2);
  EXPECT_EQ(Check(), "message 2 was never sent\n");
}

TEST_F(TransportLedgerTest, AChangeIsWrong) {
  Send(1);
  Message message = MakeMessage(1, kOtherMessage, kFrom.node, kTo.node);
  std::get<HeartbeatMessage>(message.body).commit = Index(7);
  log_.Post(Received{std::move(message), 1});
  EXPECT_EQ(Check(), "message 1 was changed\n");
}

TEST_F(TransportLedgerTest, ArrivalAtAnotherNodeIsWrong) {
  Send(1);
  Arrive(1);
  EXPECT_EQ(ledger_.Check({NodeId(3), 1}, log_), "message 1 was for another process\n");
}

TEST_F(TransportLedgerTest, NewsOfLinksMustAlternate) {
  const NodeId peer(1);
  log_.Post(LinkUp{peer});
  log_.Post(LinkDown{peer, false});
  log_.Post(LinkDown{peer, true});
  log_.Post(LinkUp{peer});
  EXPECT_EQ(Check(), "");
  log_.Post(LinkUp{peer});
  EXPECT_EQ(Check(), "a link came up that was up\n");
}

TEST_F(TransportLedgerTest, ALinkGoesDownOnlyOnce) {
  const NodeId peer(1);
  log_.Post(LinkDown{peer, true});
  EXPECT_EQ(Check(), "a link went down that was down\n");
  TransportLog twice;
  twice.Post(LinkUp{peer});
  twice.Post(LinkDown{peer, true});
  twice.Post(LinkDown{peer, true});
  EXPECT_EQ(ledger_.Check(kTo, twice), "a link went down that was down\n");
}

}  // namespace
}  // namespace skein
