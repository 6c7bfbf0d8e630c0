// `skein bench` on a cluster that does not always answer.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/client/cli_process.h"
#include "tests/client/fake_node.h"

namespace skein {
namespace {

// One node, which serves everything but what a test keeps from it.
class CliBenchTest : public testing::Test {
 protected:
  CliBenchTest() {
    node_.SetMembers({&node_});
    node_.SetLeader(node_.id(), 1);
    node_.SetScript([this](const v1::Request& request, v1::Response* response) {
      if (request.has_put()) {
        ++puts_;
        if (breaks_left_ > 0 && breaks_left_-- > 0) return FakeNode::Act::kBreakStream;
      }
      return store_.Serve(&node_)(request, response);
    });
  }

  Ran Preload(Through through = Through::kPipe) {
    return RunSkein("--timeout 5 --endpoints " + node_.address() +
                        " bench get --preload --keys 20 --clients 1 --duration 0.1 --warmup 0",
                    through);
  }

  FakeStore store_;
  std::atomic<int> puts_{0};
  std::atomic<int> breaks_left_{0};
  FakeNode node_{"n1"};
};

TEST_F(CliBenchTest, PreloadWritesAgainWhatMayNotHaveArrived) {
  breaks_left_ = 2;
  const Ran ran = Preload();
  EXPECT_EQ(ran.code, 0) << ran.output;
  EXPECT_EQ(breaks_left_, 0);
  EXPECT_EQ(ran.output.find("found no key"), std::string::npos) << ran.output;
}

TEST_F(CliBenchTest, PreloadGivesUpAfterAWhile) {
  breaks_left_ = 1'000'000;
  const Ran ran = Preload();
  EXPECT_NE(ran.code, 0) << ran.output;
  EXPECT_NE(ran.output.find("OUTCOME_UNKNOWN"), std::string::npos) << ran.output;
  EXPECT_LE(puts_, 20 * 5);
}

TEST_F(CliBenchTest, PreloadShowsOnATerminalHowFarItIs) {
  const Ran ran = Preload(Through::kTerminal);
  EXPECT_EQ(ran.code, 0) << ran.output;
  EXPECT_NE(ran.output.find("of 20 keys"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace skein
