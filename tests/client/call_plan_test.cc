// The rules of retrying, one test per row.
#include "client/call_plan.h"

#include <gtest/gtest.h>

namespace skein::client {
namespace {

constexpr uint64_t kStart = 1'000'000;
constexpr uint64_t kDeadline = 2'000'000;
constexpr uint64_t kPatience = 300'000;

CallPlan Plan(CallKind kind) { return CallPlan(kind, kStart, kDeadline, kPatience); }

Circumstances At(uint64_t now_us) {
  Circumstances now;
  now.now_us = now_us;
  now.random = 12345;
  return now;
}

Outcome Refused(ErrorReason reason, size_t slot = 0, bool maybe_applied = false) {
  Outcome outcome;
  outcome.happened = Happened::kRefused;
  outcome.error = MakeError(absl::StatusCode::kUnavailable, "refused",
                            {.reason = reason, .maybe_applied = maybe_applied});
  outcome.slot = slot;
  outcome.address = "a:1";
  return outcome;
}

Outcome Simple(Happened happened, bool sent = false, size_t slot = 0) {
  Outcome outcome;
  outcome.happened = happened;
  outcome.sent = sent;
  outcome.error = absl::UnavailableError("connection refused");
  outcome.slot = slot;
  outcome.address = "a:1";
  return outcome;
}

TEST(CallPlanTest, TheFirstAttemptLeavesTimeForAnother) {
  const CallPlan plan = Plan(CallKind::kRead);
  EXPECT_EQ(plan.AttemptMicros(100'000, 0, kStart), 100'000u);
  EXPECT_EQ(plan.AttemptMicros(900'000, 0, kStart), 500'000u);
  EXPECT_EQ(plan.AttemptMicros(100'000, 1, kStart), 200'000u);
  EXPECT_EQ(plan.AttemptMicros(100'000, 3, kStart), 800'000u);
  EXPECT_EQ(plan.AttemptMicros(10'000, 30, kStart), 80'000u);
  EXPECT_EQ(plan.AttemptMicros(100'000, 1, kDeadline - 5), 5u);
  EXPECT_EQ(plan.AttemptMicros(100'000, 1, kDeadline + 5), 0u);
}

TEST(CallPlanWriteTest, FollowsALeaderHintAtOnceButNotInCircles) {
  CallPlan plan = Plan(CallKind::kWrite);
  Circumstances now = At(kStart);
  now.leader = 2;
  now.leader_up = true;
  NextStep step = plan.After(Refused(ErrorReason::kNotLeader), now);
  EXPECT_FALSE(step.give_up);
  EXPECT_EQ(step.delay_us, 0u);
  step = plan.After(Refused(ErrorReason::kNotLeader, 1), now);
  EXPECT_GT(step.delay_us, 0u) << "the same leader again";
  EXPECT_TRUE(step.refresh);
}

TEST(CallPlanWriteTest, WithoutALeaderItWaitsABit) {
  CallPlan plan = Plan(CallKind::kWrite);
  const NextStep step = plan.After(Refused(ErrorReason::kNotLeader), At(kStart));
  EXPECT_FALSE(step.give_up);
  EXPECT_GE(step.delay_us, 5'000u);
  EXPECT_LE(step.delay_us, 20'000u);
  EXPECT_TRUE(step.refresh);
}

TEST(CallPlanWriteTest, ALeaderThatIsDownIsNotFollowedAtOnce) {
  CallPlan plan = Plan(CallKind::kWrite);
  Circumstances now = At(kStart);
  now.leader = 2;
  now.leader_up = false;
  EXPECT_GT(plan.After(Refused(ErrorReason::kNotLeader), now).delay_us, 0u);
}

TEST(CallPlanWriteTest, NoQuorumIsFinalUnlessAnotherLeaderIsClaimed) {
  CallPlan plan = Plan(CallKind::kWrite);
  Circumstances now = At(kStart);
  NextStep step = plan.After(Refused(ErrorReason::kNoQuorum), now);
  EXPECT_TRUE(step.give_up);
  EXPECT_EQ(DetailOf(step.status).reason, ErrorReason::kNoQuorum);
  now.another_leader_claimed = true;
  EXPECT_FALSE(plan.After(Refused(ErrorReason::kNoQuorum), now).give_up);
}

TEST(CallPlanWriteTest, AFullQueueIsTriedAgainLater) {
  CallPlan plan = Plan(CallKind::kWrite);
  const NextStep step = plan.After(Refused(ErrorReason::kQueueFull), At(kStart));
  EXPECT_FALSE(step.give_up);
  EXPECT_GT(step.delay_us, 0u);
}

TEST(CallPlanWriteTest, ABrokenConnectionLeavesTheOutcomeUnknown) {
  CallPlan plan = Plan(CallKind::kWrite);
  const NextStep step = plan.After(Simple(Happened::kBroken, true), At(kStart));
  ASSERT_TRUE(step.give_up);
  EXPECT_EQ(step.status.code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(DetailOf(step.status).reason, ErrorReason::kOutcomeUnknown);
  EXPECT_TRUE(DetailOf(step.status).maybe_applied);
}

TEST(CallPlanWriteTest, WhatMayHaveBeenAppliedIsNeverRetried) {
  for (const ErrorReason reason : {ErrorReason::kNotLeader, ErrorReason::kQueueFull,
                                   ErrorReason::kShuttingDown, ErrorReason::kNoQuorum}) {
    CallPlan plan = Plan(CallKind::kWrite);
    Circumstances now = At(kStart);
    now.another_leader_claimed = true;
    EXPECT_TRUE(plan.After(Refused(reason, 0, true), now).give_up) << ErrorReasonName(reason);
  }
}

TEST(CallPlanWriteTest, WhatWasNeverSentIsRetried) {
  CallPlan plan = Plan(CallKind::kWrite);
  const NextStep step = plan.After(Simple(Happened::kNotSent), At(kStart));
  EXPECT_FALSE(step.give_up);
  EXPECT_TRUE(step.refresh);
}

TEST(CallPlanWriteTest, ItsOwnMistakesAreFinal) {
  for (const ErrorReason reason : {ErrorReason::kInvalidField, ErrorReason::kDiskReserve,
                                   ErrorReason::kDamagedData, ErrorReason::kNone}) {
    CallPlan plan = Plan(CallKind::kWrite);
    EXPECT_TRUE(plan.After(Refused(reason), At(kStart)).give_up) << ErrorReasonName(reason);
  }
}

TEST(CallPlanWriteTest, TheDeadlineTellsWhetherTheCommandLeft) {
  CallPlan plan = Plan(CallKind::kWrite);
  NextStep step = plan.After(Simple(Happened::kDeadline, true), At(kDeadline));
  EXPECT_EQ(DetailOf(step.status).reason, ErrorReason::kOutcomeUnknown);
  step = plan.After(Simple(Happened::kDeadline, false), At(kDeadline));
  EXPECT_EQ(step.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(DetailOf(step.status).reason, ErrorReason::kDeadline);
  EXPECT_FALSE(DetailOf(step.status).maybe_applied);
}

TEST(CallPlanWriteTest, NoDelayReachesBeyondTheDeadline) {
  CallPlan plan = Plan(CallKind::kWrite);
  EXPECT_LE(plan.After(Refused(ErrorReason::kNotLeader), At(kDeadline - 10)).delay_us, 10u);
  EXPECT_TRUE(plan.After(Refused(ErrorReason::kNotLeader), At(kDeadline)).give_up);
}

TEST(CallPlanTest, PatienceEndsWhenNoNodeIsUp) {
  for (const CallKind kind : {CallKind::kRead, CallKind::kWrite}) {
    CallPlan plan = Plan(kind);
    Circumstances now = At(kStart + kPatience - 1);
    now.any_node_up = false;
    EXPECT_FALSE(plan.After(Simple(Happened::kNotSent), now).give_up);
    now.now_us = kStart + kPatience;
    const NextStep step = plan.After(Simple(Happened::kNotSent), now);
    ASSERT_TRUE(step.give_up);
    EXPECT_EQ(step.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_NE(MessageOf(step.status).find("a:1"), std::string::npos);
  }
}

TEST(CallPlanReadTest, GoesOnAtOnceWhileThereAreOtherNodes) {
  for (const Happened happened : {Happened::kNotSent, Happened::kBroken, Happened::kSlow}) {
    CallPlan plan = Plan(CallKind::kRead);
    Circumstances now = At(kStart);
    now.untried_node_left = true;
    NextStep step = plan.After(Simple(happened, true, 1), now);
    EXPECT_FALSE(step.give_up);
    EXPECT_EQ(step.delay_us, 0u);
    EXPECT_TRUE(plan.tried().Has(1));
    now.untried_node_left = false;
    step = plan.After(Simple(happened, true, 2), now);
    EXPECT_FALSE(step.give_up);
    EXPECT_GT(step.delay_us, 0u);
    EXPECT_TRUE(plan.tried().empty()) << "it starts over";
  }
}

TEST(CallPlanReadTest, BehindOrStaleGoesElsewhereAndIsTheAnswerAtTheDeadline) {
  for (const ErrorReason reason : {ErrorReason::kBehind, ErrorReason::kStale}) {
    CallPlan plan = Plan(CallKind::kRead);
    Circumstances now = At(kStart);
    now.untried_node_left = true;
    EXPECT_FALSE(plan.After(Refused(reason), now).give_up);
    const NextStep step = plan.After(Simple(Happened::kDeadline, true), At(kDeadline));
    ASSERT_TRUE(step.give_up);
    EXPECT_EQ(DetailOf(step.status).reason, reason);
  }
}

TEST(CallPlanReadTest, NoQuorumAndDamageAreFinalWhenAllNodesAgree) {
  for (const ErrorReason reason : {ErrorReason::kNoQuorum, ErrorReason::kDamagedData}) {
    CallPlan plan = Plan(CallKind::kRead);
    Circumstances now = At(kStart);
    now.untried_node_left = true;
    EXPECT_FALSE(plan.After(Refused(reason), now).give_up);
    now.untried_node_left = false;
    EXPECT_TRUE(plan.After(Refused(reason), now).give_up);
  }
}

TEST(CallPlanReadTest, ABadRequestIsFinal) {
  CallPlan plan = Plan(CallKind::kRead);
  Circumstances now = At(kStart);
  now.untried_node_left = true;
  EXPECT_TRUE(plan.After(Refused(ErrorReason::kInvalidField), now).give_up);
}

TEST(CallPlanReadTest, ADeadlineNeverMakesAReadUnknown) {
  CallPlan plan = Plan(CallKind::kRead);
  const NextStep step = plan.After(Simple(Happened::kDeadline, true), At(kDeadline));
  EXPECT_EQ(step.status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(CallPlanTest, DestructionTellsWhetherAWriteLeft) {
  CallPlan plan = Plan(CallKind::kWrite);
  EXPECT_TRUE(
      DetailOf(plan.After(Simple(Happened::kShutdown, true), At(kStart)).status).maybe_applied);
  EXPECT_EQ(plan.After(Simple(Happened::kShutdown, false), At(kStart)).status.code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace skein::client
