// The checker on histories that are known to be good and known to be bad.
#include "tests/support/linearizability.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/random.h"

namespace skein {
namespace {

constexpr uint64_t kNever = HistoryOp::kNever;

HistoryOp Put(const std::string& value, uint64_t begin, uint64_t end, uint64_t version = 0) {
  HistoryOp op;
  op.kind = HistoryOp::Kind::kPut;
  op.value = value;
  op.begin_us = begin;
  op.end_us = end;
  op.version = version;
  return op;
}

HistoryOp Delete(uint64_t begin, uint64_t end, uint64_t version = 0) {
  HistoryOp op = Put("", begin, end, version);
  op.kind = HistoryOp::Kind::kDelete;
  return op;
}

HistoryOp Get(const std::string& value, uint64_t begin, uint64_t end, uint64_t version = 0) {
  HistoryOp op = Put(value, begin, end, version);
  op.kind = HistoryOp::Kind::kGet;
  op.found = true;
  return op;
}

HistoryOp GetNothing(uint64_t begin, uint64_t end) {
  HistoryOp op = Get("", begin, end);
  op.found = false;
  return op;
}

TEST(LinearizabilityTest, EmptyHistory) { EXPECT_EQ(CheckLinearizable({}), ""); }

TEST(LinearizabilityTest, OneAfterAnother) {
  EXPECT_EQ(CheckLinearizable({GetNothing(1, 2), Put("a", 3, 4), Get("a", 5, 6), Delete(7, 8),
                               GetNothing(9, 10)}),
            "");
}

TEST(LinearizabilityTest, ReadOfTheValueBeforeTheLastIsStale) {
  const std::string text = CheckLinearizable({Put("a", 1, 2), Put("b", 3, 4), Get("a", 5, 6)});
  EXPECT_NE(text.find("nothing explains\n  get found a"), std::string::npos) << text;
  EXPECT_NE(text.find("put b"), std::string::npos) << text;
}

TEST(LinearizabilityTest, LostWriteIsFound) {
  EXPECT_NE(CheckLinearizable({Put("a", 1, 2), GetNothing(3, 4)}), "");
}

TEST(LinearizabilityTest, ValueFromNowhere) {
  EXPECT_NE(CheckLinearizable({Put("a", 1, 2), Get("b", 3, 4)}), "");
}

TEST(LinearizabilityTest, ValueFromTheFuture) {
  EXPECT_NE(CheckLinearizable({Get("a", 1, 2), Put("a", 3, 4)}), "");
}

TEST(LinearizabilityTest, ConcurrentWritesTakeEitherOrder) {
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 5), Put("b", 2, 4), Get("a", 6, 7)}), "");
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 5), Put("b", 2, 4), Get("b", 6, 7)}), "");
}

TEST(LinearizabilityTest, ReadersAgreeOnTheOrder) {
  const std::vector<HistoryOp> writes = {Put("a", 1, 20), Put("b", 1, 20)};
  auto with = [&writes](std::vector<HistoryOp> reads) {
    reads.insert(reads.end(), writes.begin(), writes.end());
    return CheckLinearizable(std::move(reads));
  };
  EXPECT_EQ(with({Get("a", 2, 3), Get("b", 4, 5), Get("b", 6, 7)}), "");
  EXPECT_NE(with({Get("a", 2, 3), Get("b", 4, 5), Get("a", 6, 7)}), "");
}

TEST(LinearizabilityTest, SameInstantIsConcurrent) {
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 5), Get("a", 5, 6)}), "");
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 5), GetNothing(5, 6)}), "");
}

TEST(LinearizabilityTest, UnknownPutMayTakeEffectLateOrNever) {
  EXPECT_EQ(CheckLinearizable({Put("a", 1, kNever), GetNothing(10, 11)}), "");
  EXPECT_EQ(CheckLinearizable({Put("a", 1, kNever), GetNothing(10, 11), Get("a", 12, 13)}), "");
}

TEST(LinearizabilityTest, UnknownPutTakesEffectOnce) {
  EXPECT_NE(CheckLinearizable({Put("a", 1, kNever), Get("a", 2, 3), Put("b", 4, 5), Get("b", 6, 7),
                               Get("a", 8, 9)}),
            "");
}

TEST(LinearizabilityTest, UnknownDeleteMayExplainAnAbsence) {
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 2), Delete(3, kNever), Get("a", 4, 5), GetNothing(6, 7),
                               GetNothing(8, 9)}),
            "");
  EXPECT_NE(
      CheckLinearizable({Put("a", 1, 2), Delete(3, kNever), GetNothing(4, 5), Get("a", 6, 7)}), "");
}

TEST(LinearizabilityTest, RevisionsRise) {
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 9, 4), Put("b", 1, 9, 3), Get("a", 10, 11, 4)}), "");
  EXPECT_NE(CheckLinearizable({Put("a", 1, 2, 4), Put("b", 3, 4, 3)}), "");
  EXPECT_NE(CheckLinearizable({Put("a", 1, 2, 4), Get("a", 3, 4, 5)}), "");
}

TEST(LinearizabilityTest, UnansweredReadSaysNothing) {
  EXPECT_EQ(CheckLinearizable({Put("a", 1, 2), Get("z", 3, kNever)}), "");
}

TEST(LinearizabilityTest, SearchIsBounded) {
  std::vector<HistoryOp> history;
  for (int i = 0; i < 12; ++i) history.push_back(Put("v" + std::to_string(i), 1, 100));
  for (int i = 0; i < 12; ++i) {
    history.push_back(Get("v" + std::to_string(i), 101 + 2 * i, 102 + 2 * i));
  }
  EXPECT_NE(CheckLinearizable(history, 1000).find("undecided"), std::string::npos);
}

// A register that is executed at a random instant between invocation and response is linearizable;
// with a read of a value that was overwritten long before, it is not.
TEST(LinearizabilityTest, RandomHistories) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    struct Planned {
      HistoryOp op;
      uint64_t effect_us;
    };
    std::vector<Planned> planned;
    for (int client = 0; client < 4; ++client) {
      uint64_t now = random.Below(10);
      for (int i = 0; i < 30; ++i) {
        HistoryOp op;
        op.begin_us = now;
        op.end_us = now + 2 + random.Below(20);
        const uint64_t effect = random.Between(op.begin_us, op.end_us);
        now = op.end_us + 1 + random.Below(10);
        const uint64_t kind = random.Below(10);
        op.kind = kind < 4   ? HistoryOp::Kind::kPut
                  : kind < 5 ? HistoryOp::Kind::kDelete
                             : HistoryOp::Kind::kGet;
        op.value = std::to_string(client) + "." + std::to_string(i);
        if (op.kind != HistoryOp::Kind::kGet && random.Chance(0.1)) op.end_us = kNever;
        planned.push_back({op, effect});
      }
    }
    std::stable_sort(planned.begin(), planned.end(),
                     [](const Planned& a, const Planned& b) { return a.effect_us < b.effect_us; });
    std::string held;
    bool held_answered = false;  // what is of unknown outcome may come back
    std::string overwritten;
    std::vector<HistoryOp> history;
    for (Planned& step : planned) {
      HistoryOp& op = step.op;
      switch (op.kind) {
        case HistoryOp::Kind::kPut:
          if (held_answered) overwritten = held;
          held = op.value;
          held_answered = op.end_us != kNever;
          break;
        case HistoryOp::Kind::kDelete:
          if (held_answered) overwritten = held;
          held.clear();
          held_answered = false;
          break;
        case HistoryOp::Kind::kGet:
          op.found = !held.empty();
          op.value = held;
          break;
      }
      history.push_back(op);
    }
    EXPECT_EQ(CheckLinearizable(history), "") << "seed " << seed;
    ASSERT_FALSE(overwritten.empty());
    history.push_back(Get(overwritten, 100'000, 100'001));
    history.push_back(Put("last", 99'000, 99'001));
    EXPECT_NE(CheckLinearizable(history), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace skein
