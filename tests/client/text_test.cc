#include "cli/text.h"

#include <gtest/gtest.h>

#include "cli/catch_up.h"
#include "cli/status.h"

namespace skein::cli {
namespace {

using std::string_literals::operator""s;

TEST(TextTest, KnowsUtf8) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("grün €"));
  EXPECT_TRUE(IsUtf8("\xf0\x9f\xa6\xa2"));
  EXPECT_FALSE(IsUtf8("\xff"));
  EXPECT_FALSE(IsUtf8("\xc3")) << "cut off";
  EXPECT_FALSE(IsUtf8("\xc0\xaf")) << "overlong";
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80")) << "a surrogate";
}

TEST(TextTest, HexAndBase64SurviveARoundTrip) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  for (const Encoding encoding : {Encoding::kHex, Encoding::kBase64}) {
    EXPECT_EQ(DecodeArgument(encoding, EncodeBytes(encoding, bytes)).value(), bytes);
  }
  EXPECT_FALSE(DecodeArgument(Encoding::kHex, "abc").ok());
  EXPECT_FALSE(DecodeArgument(Encoding::kHex, "zz").ok());
  EXPECT_FALSE(DecodeArgument(Encoding::kBase64, "!").ok());
}

TEST(TextTest, JsonHoldsBinaryAsBase64) {
  nlohmann::ordered_json json;
  SetBytes(&json, "value", "\xff\x00"s);
  EXPECT_EQ(json.dump(), R"({"value":"/wA=","encoding":"base64"})");
  nlohmann::ordered_json plain;
  SetBytes(&plain, "value", "Ada");
  EXPECT_EQ(plain.dump(), R"({"value":"Ada"})");
}

TEST(TextTest, GroupsDigits) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(1234567), "1,234,567");
}

TEST(HumanTest, BytesHaveTheUnitInWhichTheyAreShortest) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes(1'288'490'189), "1.2 GiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "16.0 EiB");
}

TEST(HumanTest, SecondsAreRounded) {
  EXPECT_EQ(HumanSeconds(59), "59 s");
  EXPECT_EQ(HumanSeconds(200), "3 min 20 s");
  EXPECT_EQ(HumanSeconds(7260), "2 h 1 min");
}

TEST(CatchUpTest, SaysOnlyWhatIsKnown) {
  CatchUpState state;
  EXPECT_EQ(CatchUpWords(state), "is about to catch up");
  state.way = CatchUpWay::kLog;
  state.bytes_left = 5000;
  EXPECT_EQ(CatchUpWords(state), "catches up by log: 4.9 KiB left");
  EXPECT_EQ(SecondsLeft(state), std::nullopt);
  state.bytes_per_second = 4000;
  EXPECT_EQ(CatchUpWords(state), "catches up by log: 4.9 KiB left, 3.9 KiB/s, 2 s left");
  state.way = CatchUpWay::kInstall;
  state.source_id = "n3";
  EXPECT_EQ(CatchUpWords(state), "puts the snapshot from n3 in place");
}

TEST(StatusJsonTest, HasTheShapeThatProgramsRelyOn) {
  ClusterStatus cluster;
  cluster.leader_id = "n1";
  cluster.term = 3;
  NodeStatus leader;
  leader.id = "n1";
  leader.address = "127.0.0.1:7411";
  leader.reachable = true;
  leader.role = NodeRole::kLeader;
  leader.applied_revision = 9;
  leader.lag = NodeLag{};
  NodeStatus dead;
  dead.id = "n2";
  dead.address = "127.0.0.1:7412";
  cluster.nodes = {leader, dead};
  EXPECT_EQ(
      StatusJson(cluster).dump(),
      R"({"leader":"n1","term":3,"nodes":[)"
      R"({"id":"n1","role":"leader","address":"127.0.0.1:7411","reachable":true,"revision":9,)"
      R"("lag":{"revisions":0,"bytes":0,"milliseconds":0},)"
      R"("member":true,"voter":true,"connected":false,"catch_up":null,)"
      R"("upstream":null,"fed_by":null,"protocol_version":0},)"
      R"({"id":"n2","role":"unreachable","address":"127.0.0.1:7412","reachable":false,)"
      R"("revision":null,"lag":null,)"
      R"("member":true,"voter":true,"connected":false,"catch_up":null,)"
      R"("upstream":null,"fed_by":null,"protocol_version":null}]})");
}

}  // namespace
}  // namespace skein::cli
