// `skein member`, `skein transfer` and `skein status` on a cluster whose members change.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/mutex.h"
#include "tests/client/cli_process.h"
#include "tests/client/fake_cluster.h"

namespace skein {
namespace {

using Kind = FakeCluster::Change::Kind;
using testing::Test;

bool Has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

v1::CatchUp Snapshot(uint64_t done, uint64_t left, uint64_t rate) {
  v1::CatchUp catch_up;
  catch_up.set_way(v1::CatchUp::WAY_SNAPSHOT);
  catch_up.set_source_id("n2");
  catch_up.set_bytes_done(done);
  catch_up.set_bytes_left(left);
  catch_up.set_bytes_per_second(rate);
  return catch_up;
}

class CliMemberTest : public Test {
 protected:
  // Through n2, which does not lead.
  std::string Arguments(const std::string& arguments) {
    return "--timeout 5 --endpoints " + cluster_.node("n2").address() + " " + arguments;
  }
  Ran Skein(const std::string& arguments, Through through = Through::kPipe) {
    return RunSkein(Arguments(arguments), through);
  }
  nlohmann::json Json(const std::string& arguments) {
    const Ran ran = Skein("--output json " + arguments + " 2>/dev/null");
    EXPECT_EQ(ran.code, 0) << ran.output;
    return nlohmann::json::parse(ran.output, nullptr, false);
  }
  std::string JoinCommand(const std::string& id, const std::string& address) {
    return "skeind --id " + id + " --data-dir /var/lib/skein --listen " + address + " --join " +
           cluster_.Endpoints({"n1", "n2", "n3"});
  }

  FakeCluster cluster_{3};
};

TEST_F(CliMemberTest, ListsTheMembersInEveryForm) {
  cluster_.Apply({Kind::kAdd, "n4", "127.0.0.1:9", true});
  Ran ran = Skein("member list");
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(Has(ran.output, "n1 " + cluster_.node("n1").address() +
                                  " voter promote_when_level=no incarnation="))
      << ran.output;
  EXPECT_TRUE(Has(ran.output,
                  "n4 127.0.0.1:9 learner promote_when_level=yes incarnation=- never_votes=no "
                  "upstream=-\n"))
      << ran.output;
  ran = Skein("member list", Through::kTerminal);
  EXPECT_TRUE(Has(ran.output, "learner, to be promoted")) << ran.output;
  EXPECT_TRUE(Has(ran.output, "3 voters, of which 1 may fail")) << ran.output;
  const nlohmann::json json = Json("member list");
  ASSERT_EQ(json["members"].size(), 4u);
  EXPECT_EQ(json["cluster_token"], "skein");
  EXPECT_EQ(json["members"][3]["id"], "n4");
  EXPECT_EQ(json["members"][3]["voter"], false);
  EXPECT_TRUE(json["members"][3]["incarnation"].is_null());
}

TEST_F(CliMemberTest, AddPrintsTheCommandThatStartsTheNode) {
  const std::string command = JoinCommand("n4", "10.0.0.4:7411");
  Ran ran = Skein("member add n4 10.0.0.4:7411");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.output, command + "\n");
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n4)");
  // Again, since it was not started: the same.
  EXPECT_EQ(Json("member add n4 10.0.0.4:7411")["join_command"], command);
  ran = Skein("member add n4 10.0.0.4:7411", Through::kTerminal);
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(Has(ran.output, "already")) << ran.output;
  EXPECT_TRUE(Has(ran.output, command)) << ran.output;
  ran = Skein("member add n4 10.0.0.5:7411");
  EXPECT_EQ(ran.code, 3) << ran.output;
  EXPECT_TRUE(Has(ran.output, "is a member already")) << ran.output;
}

// The fake nodes know of neither, as those of an older release.
TEST_F(CliMemberTest, AnOldLeaderThatAddsAPlainLearnerIsNoticed) {
  for (const char* kind : {"--learner", "--upstream n2"}) {
    const Ran ran = Skein(std::string("member add n4 10.0.0.4:7411 ") + kind);
    EXPECT_NE(ran.code, 0) << ran.output;
    EXPECT_TRUE(Has(ran.output, "software is too old") || Has(ran.output, "a member already"))
        << ran.output;
    EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n4)");
  }
  const Ran ran = Skein("member upstream n4 n2");
  EXPECT_NE(ran.code, 0);
  EXPECT_TRUE(Has(ran.output, "too old for this call")) << ran.output;
}

TEST_F(CliMemberTest, AddWaitsUntilItIsPromotedAndSaysHowFarItIs) {
  CliProcess add(Arguments("member add n4 10.0.0.4:7411 --promote-when-caught-up --wait"));
  EXPECT_TRUE(add.Says("n4 has no connection to the leader")) << add.output();
  cluster_.SetCatchUp("n4", Snapshot(100 << 20, 300 << 20, 50 << 20));
  EXPECT_TRUE(
      add.Says("n4 catches up by snapshot from n2: 100.0 MiB of 400.0 MiB, 50.0 MiB/s, "
               "6 s left\n"))
      << add.output();
  v1::CatchUp log;
  log.set_way(v1::CatchUp::WAY_LOG);
  log.set_bytes_left(3 << 10);
  cluster_.SetCatchUp("n4", log);
  EXPECT_TRUE(add.Says("n4 catches up by log: 3.0 KiB left\n")) << add.output();
  cluster_.SetLevel("n4");
  EXPECT_EQ(add.WaitForEnd(), 0);
  EXPECT_TRUE(Has(add.output(), "\nlevel n4 voter\n")) << add.output();
  EXPECT_FALSE(Has(add.output(), "\r")) << "no bar in a pipe";
}

TEST_F(CliMemberTest, ATerminalShowsABar) {
  CliProcess add(Arguments("member add n4 10.0.0.4:7411 --promote-when-caught-up --wait"),
                 Through::kTerminal);
  cluster_.WaitForMembers("n1 n2 n3 (n4)");
  cluster_.SetCatchUp("n4", Snapshot(100 << 20, 300 << 20, 50 << 20));
  EXPECT_TRUE(add.Says("[#####...............]  25 %  n4 catches up by snapshot from n2"))
      << add.output();
  cluster_.SetCatchUp("n4", Snapshot(200 << 20, 200 << 20, 50 << 20));
  EXPECT_TRUE(add.Says("[##########..........]  50 %")) << add.output();
  cluster_.SetLevel("n4");
  EXPECT_EQ(add.WaitForEnd(), 0);
  EXPECT_TRUE(Has(add.output(), "n4 is level, and a voter: 4 voters, of which 1 may fail"))
      << add.output();
}

TEST_F(CliMemberTest, HowMuchIsLeftFitsInEightyColumns) {
  cluster_.Apply({Kind::kAdd, "n4", "10.0.0.4:7411"});
  cluster_.SetCatchUp("n4", Snapshot(100 << 20, 300 << 20, 50 << 20));
  CliProcess wait(Arguments("member wait n4"), Through::kNarrowTerminal);
  EXPECT_TRUE(
      wait.Says("[#####...............]  25 %  100.0 MiB of 400.0 MiB, 50.0 MiB/s, 6 s left"))
      << wait.output();
}

TEST_F(CliMemberTest, ALearnerThatWasAddedWithoutPromotionIsPromotedByWhoeverWaitsForIt) {
  cluster_.Apply({Kind::kAdd, "n4", "10.0.0.4:7411"});
  cluster_.SetLevel("n4");
  EXPECT_EQ(Skein("member add n4 10.0.0.4:7411 --wait").code, 0);
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n4)");
  EXPECT_EQ(Skein("member add n4 10.0.0.4:7411 --wait --promote-when-caught-up").code, 0);
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 n4");
}

TEST_F(CliMemberTest, CtrlCEndsTheWaitingOnly) {
  const std::string arguments =
      Arguments("member add n4 10.0.0.4:7411 --promote-when-caught-up --wait");
  {
    CliProcess add(arguments);
    EXPECT_TRUE(add.Says("no connection")) << add.output();
    add.Signal(SIGINT);
    EXPECT_EQ(add.WaitForEnd(), 1);
    EXPECT_TRUE(Has(add.output(), "interrupted; n4 stays a member")) << add.output();
  }
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n4)");
  CliProcess again(arguments);
  EXPECT_TRUE(again.Says("no connection")) << again.output();
  cluster_.SetLevel("n4");
  EXPECT_EQ(again.WaitForEnd(), 0) << again.output();
}

TEST_F(CliMemberTest, WaitingEndsWhenItsTimeIsOverOrTheMemberIsGone) {
  const Ran late = Skein("member add n4 10.0.0.4:7411 --wait --wait-timeout 0.5");
  EXPECT_EQ(late.code, 1);
  EXPECT_TRUE(Has(late.output, "after 0.5 s n4 has no connection to the leader")) << late.output;
  CliProcess add(Arguments("member add n4 10.0.0.4:7411 --wait"));
  EXPECT_TRUE(add.Says("no connection")) << add.output();
  cluster_.Apply({Kind::kRemove, "n4"});
  EXPECT_EQ(add.WaitForEnd(), 3);
  EXPECT_TRUE(Has(add.output(), "n4 is not a member any more")) << add.output();
}

TEST_F(CliMemberTest, WaitsForAMemberThatWasRestarted) {
  cluster_.SetCatchUp("n3", Snapshot(1, 1, 0));
  CliProcess wait(Arguments("member wait n3"));
  EXPECT_TRUE(wait.Says("n3 catches up by snapshot from n2: 1 B of 2 B\n")) << wait.output();
  cluster_.SetLevel("n3");
  EXPECT_EQ(wait.WaitForEnd(), 0);
  EXPECT_TRUE(Has(wait.output(), "\nlevel n3 voter\n")) << wait.output();
  EXPECT_EQ(Skein("member wait n9").code, 3);
  cluster_.Apply({Kind::kAdd, "n4", "10.0.0.4:7411"});
  cluster_.SetLevel("n4");
  EXPECT_EQ(Skein("member wait n4").output, "level n4 learner\n");
  EXPECT_TRUE(Has(Skein("member wait n4 --voter").output, "level n4 voter\n"));
}

TEST_F(CliMemberTest, WaitingOutlastsAnElection) {
  CliProcess add(Arguments("member add n4 10.0.0.4:7411 --wait"));
  EXPECT_TRUE(add.Says("no connection")) << add.output();
  cluster_.Elect("");
  EXPECT_TRUE(add.Says("no node leads just now")) << add.output();
  cluster_.Elect("n3");
  cluster_.SetLevel("n4");
  EXPECT_EQ(add.WaitForEnd(), 0) << add.output();
}

TEST_F(CliMemberTest, PromotesRemovesAndMoves) {
  cluster_.Apply({Kind::kAdd, "n4", "10.0.0.4:7411"});
  Ran ran = Skein("member promote n4");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.output, "promoted n4\n");
  EXPECT_EQ(Skein("member promote n4").code, 0) << "it is so already";
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 n4");
  ran = Skein("member move n4 10.0.0.14:7411");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.output, "moved n4 10.0.0.14:7411\n");
  EXPECT_EQ(Skein("member move n4 10.0.0.14:7411").code, 0) << "it is there already";
  ran = Skein("member remove n4", Through::kTerminal);
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(Has(ran.output, "n4 is removed: 3 voters, of which 1 may fail")) << ran.output;
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3");
  EXPECT_EQ(Json("member remove n3")["members"].size(), 2u);
}

TEST_F(CliMemberTest, RefusalsEndWithThreeAndSayWhy) {
  for (const char* arguments :
       {"member promote n9", "member remove n9", "member move n9 10.0.0.9:1", "transfer n9"}) {
    EXPECT_EQ(Skein(arguments).code, 3) << arguments;
  }
  EXPECT_TRUE(Has(Skein("member remove n9").output, "skein member list"));
  cluster_.Intervene([](const FakeCluster::Change&) {
    return NodeError(grpc::StatusCode::FAILED_PRECONDITION, "n4 lacks 7 entries of the log");
  });
  const Ran ran = Skein("member promote n4");
  EXPECT_EQ(ran.code, 3);
  EXPECT_TRUE(Has(ran.output, "n4 lacks 7 entries of the log")) << ran.output;
}

TEST_F(CliMemberTest, AnUnknownOutcomeEndsWithOneAndSaysWhereToLook) {
  cluster_.Intervene([](const FakeCluster::Change&) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  });
  const Ran ran = Skein("member remove n3");
  EXPECT_EQ(ran.code, 1);
  EXPECT_TRUE(Has(ran.output, "OUTCOME_UNKNOWN")) << ran.output;
  EXPECT_TRUE(Has(ran.output, "see `skein member list` before you try again")) << ran.output;
}

TEST_F(CliMemberTest, AForcedRemovalAsks) {
  std::atomic<int> forced{0};
  cluster_.Intervene([&](const FakeCluster::Change& change) -> std::optional<grpc::Status> {
    if (change.force) ++forced;
    return std::nullopt;
  });
  Ran ran = Skein("member remove n3 --force");
  EXPECT_EQ(ran.code, 2) << "nobody is there to be asked";
  EXPECT_TRUE(Has(ran.output, "--yes")) << ran.output;
  {
    CliProcess no(Arguments("member remove n3 --force"), Through::kTerminal);
    EXPECT_TRUE(no.Says("[y/N]")) << no.output();
    no.Type("\n");
    EXPECT_EQ(no.WaitForEnd(), 1);
    EXPECT_TRUE(Has(no.output(), "nothing was changed")) << no.output();
  }
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3");
  CliProcess yes(Arguments("member remove n3 --force"), Through::kTerminal);
  EXPECT_TRUE(yes.Says("[y/N]")) << yes.output();
  yes.Type("y\n");
  EXPECT_EQ(yes.WaitForEnd(), 0) << yes.output();
  EXPECT_EQ(Skein("member remove n2 --force --yes").code, 0);
  EXPECT_EQ(forced, 2);
  EXPECT_EQ(cluster_.Members(), "n1");
}

TEST_F(CliMemberTest, AChangeWaitsForTheOneThatIsUnderWay) {
  std::atomic<int> refused{0};
  std::atomic<bool> busy{true};
  cluster_.SetCommitted(false);
  cluster_.Intervene([&](const FakeCluster::Change&) -> std::optional<grpc::Status> {
    if (!busy) return std::nullopt;
    ++refused;
    return NodeError(grpc::StatusCode::FAILED_PRECONDITION, "another change is not committed yet");
  });
  CliProcess remove(Arguments("member remove n3"));
  EXPECT_TRUE(WaitUntil(std::chrono::seconds(10), [&] { return refused >= 2; }));
  busy = false;
  cluster_.SetCommitted(true);
  EXPECT_EQ(remove.WaitForEnd(), 0) << remove.output();
}

// The cluster at the moment at which a member is to be removed.
class CliReplaceTest : public CliMemberTest {
 protected:
  CliReplaceTest() {
    cluster_.Intervene([this](const FakeCluster::Change& change) -> std::optional<grpc::Status> {
      if (change.kind != Kind::kRemove) return std::nullopt;
      MutexLock lock(&mu_);
      before_removal_ = cluster_.Members();
      return std::nullopt;
    });
  }
  std::string before_removal() {
    MutexLock lock(&mu_);
    return before_removal_;
  }

 private:
  Mutex mu_;
  std::string before_removal_ ABSL_GUARDED_BY(mu_);
};

TEST_F(CliReplaceTest, TheNewOneVotesBeforeTheOldOneGoes) {
  CliProcess replace(Arguments("member replace n3 n5 10.0.0.5:7411"));
  EXPECT_TRUE(replace.Says(JoinCommand("n5", "10.0.0.5:7411"))) << replace.output();
  EXPECT_TRUE(replace.Says("n5 has no connection")) << replace.output();
  cluster_.SetCatchUp("n5", Snapshot(1, 1, 1));
  EXPECT_TRUE(replace.Says("n5 catches up by snapshot")) << replace.output();
  cluster_.SetLevel("n5");
  EXPECT_EQ(replace.WaitForEnd(), 0) << replace.output();
  EXPECT_TRUE(Has(replace.output(), "\nreplaced n3 n5\n")) << replace.output();
  EXPECT_EQ(before_removal(), "n1 n2 n3 n5");
  EXPECT_EQ(cluster_.Members(), "n1 n2 n5");
  // Once more: all is done.
  EXPECT_EQ(Skein("member replace n3 n5 10.0.0.5:7411").code, 0);
}

TEST_F(CliReplaceTest, ALeaderHandsOverFirst) {
  CliProcess replace(Arguments("member replace n1 n5 10.0.0.5:7411"), Through::kTerminal);
  cluster_.WaitForMembers("n1 n2 n3 (n5)");
  cluster_.SetLevel("n5");
  EXPECT_EQ(replace.WaitForEnd(), 0) << replace.output();
  EXPECT_TRUE(Has(replace.output(), "n1 led; n2 leads now, writes paused for 12.3 ms"))
      << replace.output();
  EXPECT_TRUE(Has(replace.output(), "n5 has replaced n1: 3 voters, of which 1 may fail"))
      << replace.output();
  EXPECT_EQ(cluster_.leader(), "n2");
}

TEST_F(CliReplaceTest, GoesOnWhereItWasInterrupted) {
  const std::string arguments = Arguments("member replace n3 n5 10.0.0.5:7411");
  {
    CliProcess replace(arguments);
    EXPECT_TRUE(replace.Says("no connection")) << replace.output();
    replace.Signal(SIGINT);
    EXPECT_EQ(replace.WaitForEnd(), 1);
    EXPECT_TRUE(Has(replace.output(), "The same command goes on from here")) << replace.output();
  }
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n5)");
  {
    CliProcess replace(arguments);
    EXPECT_TRUE(replace.Says("n5 is a member already; going on from there")) << replace.output();
    EXPECT_TRUE(replace.Says("no connection")) << replace.output();
    replace.Signal(SIGKILL);
    EXPECT_EQ(replace.WaitForEnd(), -SIGKILL);
  }
  // It was promoted meanwhile.
  cluster_.SetLevel("n5");
  EXPECT_EQ(RunSkein(arguments).code, 0);
  EXPECT_EQ(before_removal(), "n1 n2 n3 n5");
  EXPECT_EQ(cluster_.Members(), "n1 n2 n5");
}

TEST_F(CliReplaceTest, IfTheOldOneIsGoneAlreadyTheNewOneIsStillBroughtToVote) {
  cluster_.Apply({Kind::kAdd, "n5", "10.0.0.5:7411", true});
  cluster_.Apply({Kind::kRemove, "n3"});
  CliProcess replace(Arguments("member replace n3 n5 10.0.0.5:7411"));
  EXPECT_TRUE(replace.Says("n5 is a member already and n3 none any more")) << replace.output();
  cluster_.SetLevel("n5");
  EXPECT_EQ(replace.WaitForEnd(), 0) << replace.output();
  EXPECT_EQ(cluster_.Members(), "n1 n2 n5");
}

TEST_F(CliReplaceTest, ALearnerIsReplacedByALearner) {
  cluster_.Apply({Kind::kAdd, "n4", "10.0.0.4:7411"});
  CliProcess replace(Arguments("member replace n4 n5 10.0.0.5:7411"));
  cluster_.WaitForMembers("n1 n2 n3 (n4) (n5)");
  cluster_.SetLevel("n5");
  EXPECT_EQ(replace.WaitForEnd(), 0) << replace.output();
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3 (n5)");
}

TEST_F(CliReplaceTest, RefusesWhatCannotBeMeant) {
  EXPECT_EQ(Skein("member replace n3 n3 10.0.0.5:7411").code, 2);
  EXPECT_EQ(Skein("member replace n8 n9 10.0.0.5:7411").code, 3);
  const Ran ran = Skein("member replace n3 n2 10.0.0.5:7411");
  EXPECT_EQ(ran.code, 3);
  EXPECT_TRUE(Has(ran.output, "n2 is a member already, at " + cluster_.node("n2").address()))
      << ran.output;
  EXPECT_EQ(cluster_.asked(), 0);
}

// It would leave two, of which none may fail.
TEST_F(CliReplaceTest, DoesNotTakeAnOldVoterForTheNewOne) {
  const Ran ran = Skein("member replace n1 n3 " + cluster_.node("n3").address());
  EXPECT_EQ(ran.code, 3);
  EXPECT_TRUE(
      Has(ran.output, "n3 is a voter already, and without n1 fewer nodes may fail than now"))
      << ran.output;
  EXPECT_TRUE(Has(ran.output, "skein member remove n1")) << ran.output;
  EXPECT_EQ(cluster_.Members(), "n1 n2 n3");
  EXPECT_EQ(cluster_.asked(), 0);
}

TEST_F(CliMemberTest, TransfersAndPrintsThePause) {
  Ran ran = Skein("transfer n3");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.output, "n3 term=2 pause_ms=12.3\n");
  ran = Skein("transfer n3");
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(Has(ran.output, "n3 leads already")) << ran.output;
  ran = Skein("transfer", Through::kTerminal);
  EXPECT_TRUE(Has(ran.output, "n1 leads now; writes paused for 12.3 ms")) << ran.output;
  EXPECT_EQ(Json("transfer n2")["pause_us"], 12'345);
}

TEST_F(CliMemberTest, StatusShowsWhoVotesAndWhoCatchesUp) {
  cluster_.Apply({Kind::kAdd, "n4", cluster_.StartNode("n4").address()});
  cluster_.SetCatchUp("n4", Snapshot(1 << 20, 3 << 20, 1 << 20));
  Ran ran = Skein("status");
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(Has(ran.output,
                  "voter=no catch_up=snapshot source=n2 bytes_done=1048576 "
                  "bytes_left=3145728 bytes_per_second=1048576 seconds_left=3\n"))
      << ran.output;
  EXPECT_TRUE(Has(ran.output, "voter=yes\n")) << ran.output;
  ran = Skein("status", Through::kTerminal);
  EXPECT_TRUE(
      Has(ran.output, "n4 catches up by snapshot from n2: 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left"))
      << ran.output;
  EXPECT_TRUE(Has(ran.output, "n4    learner")) << ran.output;
  const nlohmann::json json = Json("status");
  EXPECT_EQ(json["nodes"][3]["catch_up"]["way"], "snapshot");
  EXPECT_EQ(json["nodes"][3]["catch_up"]["seconds_left"], 3);
  EXPECT_TRUE(json["nodes"][0]["catch_up"].is_null());
  // Through a node that does not know that it was removed.
  cluster_.Apply({Kind::kRemove, "n2"}, {"n2"});
  EXPECT_TRUE(Has(Skein("status").output, "n2 removed ")) << Skein("status").output;
}

}  // namespace
}  // namespace skein
