// Plays the stories: tests/scenarios/*.txt. A story is prose (lines that begin with #), commands, a
// line of dashes, and what happens then. With SKEIN_REWRITE=1 in the environment the expected part
// is written anew; review it as a diff.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/core_cluster.h"

namespace skein {
namespace {

using Words = std::vector<std::string>;

Words Split(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}

// Small timeouts, so that stories count few ticks: heartbeat 2, election 10 to 20, stall 30.
CoreOptions StoryOptions() {
  CoreOptions options;
  options.heartbeat_ticks = 2;
  options.election_ticks_min = 10;
  options.election_ticks_max = 20;
  options.stall_ticks = 30;
  options.trim_step_entries = 1;
  options.snapshot_silence_ticks = 40;
  return options;
}

class Player {
 public:
  // Runs one command; false if it is unknown.
  bool Run(const std::string& line);
  std::string TakeTrace() { return cluster_ ? cluster_->TakeTrace() : std::string(); }
  std::string violation() const { return cluster_ ? cluster_->violation() : std::string(); }

 private:
  bool SetUp(const Words& words);
  bool Act(const Words& words);
  bool Operate(const Words& words);
  bool Fault(const Words& words);

  CoreOptions options_ = StoryOptions();
  std::unique_ptr<CoreCluster> cluster_;
  std::string status_;

 public:
  std::string TakeStatus() { return std::exchange(status_, {}); }
};

bool Player::Run(const std::string& line) {
  const Words words = Split(line);
  if (words.empty()) return true;
  if (SetUp(words)) return true;
  if (cluster_ == nullptr) return false;
  return Act(words) || Operate(words) || Fault(words);
}

bool Player::SetUp(const Words& words) {
  if (words[0] == "option" && words.size() == 3) {
    const uint64_t value = std::stoull(words[2]);
    if (words[1] == "memory_bytes_max") options_.memory_bytes_max = value;
    if (words[1] == "append_bytes_max") options_.append_bytes_max = value;
    if (words[1] == "window_bytes_max") options_.window_bytes_max = value;
    if (words[1] == "uncommitted_bytes_max") options_.uncommitted_bytes_max = value;
    if (words[1] == "log_retention_bytes") options_.log_retention_bytes = value;
    if (words[1] == "level_bytes_max") options_.level_bytes_max = value;
    if (words[1] == "level_entries_max") options_.level_entries_max = value;
    return true;
  }
  if (words[0] == "cluster" && words.size() >= 2) {
    cluster_ = std::make_unique<CoreCluster>(options_, std::stoul(words[1]),
                                             words.size() > 2 ? std::stoul(words[2]) : 0,
                                             words.size() > 3 ? std::stoul(words[3]) : 0);
    return true;
  }
  return false;
}

bool Player::Act(const Words& words) {
  const std::string& verb = words[0];
  const size_t count = words.size();
  CoreCluster& c = *cluster_;
  if (verb == "messages" && count == 2) {
    c.set_trace_messages(words[1] == "on");
  } else if (verb == "status") {
    status_ += c.TakeTrace() + c.Status();
  } else if (verb == "sent") {
    status_ += c.TakeTrace() + c.TakeSent();
  } else if (verb == "stabilise") {
    c.Stabilise();
  } else if (verb == "run" && count == 2) {
    c.Run(std::stoi(words[1]));
  } else if (verb == "tick" && count == 3) {
    c.Tick(words[1], std::stoi(words[2]));
  } else if (verb == "elect" && count == 2) {
    c.Elect(words[1]);
  } else if (verb == "propose" && count >= 3) {
    for (size_t i = 2; i < count; ++i) c.Propose(words[1], words[i]);
  } else if (verb == "read" && count == 3) {
    c.Read(words[1], std::stoull(words[2]));
  } else if (verb == "deliver" && count == 3) {
    c.Deliver(words[1], words[2]);
  } else if (verb == "persist" && count == 2) {
    c.Persist(words[1], 1);
  } else if (verb == "flush-state" && count == 2) {
    c.FlushState(words[1]);
  } else {
    return false;
  }
  return true;
}

bool Player::Operate(const Words& words) {
  const std::string& verb = words[0];
  const size_t count = words.size();
  CoreCluster& c = *cluster_;
  if (verb == "change" && count >= 4) {
    c.Change(words[1], Words(words.begin() + 2, words.end()));
  } else if (verb == "join" && count == 3) {
    c.Join(words[1], words[2]);
  } else if (verb == "wipe" && count == 2) {
    c.Wipe(words[1]);
  } else if (verb == "transfer" && count >= 2) {
    c.Transfer(words[1], count > 2 ? words[2] : "");
  } else if (verb == "hold-fetch" && count == 2) {
    c.HoldFetch(words[1], true);
  } else if (verb == "release-fetch" && count == 2) {
    c.HoldFetch(words[1], false);
  } else if (verb == "fail-fetch" && count == 2) {
    c.FailFetch(words[1]);
  } else if (verb == "hold-install" && count == 2) {
    c.HoldInstall(words[1], true);
  } else if (verb == "release-install" && count == 2) {
    c.HoldInstall(words[1], false);
  } else {
    return false;
  }
  return true;
}

bool Player::Fault(const Words& words) {
  const std::string& verb = words[0];
  const size_t count = words.size();
  CoreCluster& c = *cluster_;
  if (verb == "drop" && count == 3) {
    c.Drop(words[1], words[2]);
  } else if (verb == "replay" && count == 3) {
    c.Replay(words[1], words[2]);
  } else if (verb == "reverse" && count == 3) {
    c.Reverse(words[1], words[2]);
  } else if (verb == "cut" && count == 3) {
    c.Cut(words[1], words[2]);
  } else if (verb == "cut-one-way" && count == 3) {
    c.CutOneWay(words[1], words[2]);
  } else if (verb == "heal") {
    c.Heal();
  } else if (verb == "link-down" && count >= 3) {
    c.LinkDown(words[1], words[2], count > 3 && words[3] == "refused");
  } else if (verb == "link-up" && count == 3) {
    c.LinkUp(words[1], words[2]);
  } else if (verb == "hold-disk" && count == 2) {
    c.HoldDisk(words[1], true);
  } else if (verb == "release-disk" && count == 2) {
    c.HoldDisk(words[1], false);
  } else if (verb == "hold-apply" && count == 2) {
    c.HoldApply(words[1], true);
  } else if (verb == "release-apply" && count == 2) {
    c.HoldApply(words[1], false);
  } else if (verb == "crash" && count == 2) {
    c.Crash(words[1]);
  } else if (verb == "restart" && count == 2) {
    c.Restart(words[1]);
  } else if (verb == "speak" && count == 3) {
    c.Speak(words[1], static_cast<uint32_t>(std::stoul(words[2])));
  } else if (verb == "lose-log" && count == 3) {
    c.LoseLog(words[1], Index(std::stoull(words[2])));
  } else {
    return false;
  }
  return true;
}

// Plays a whole story and returns it with what happened in the expected parts.
std::string Play(const std::string& story, std::string* trouble) {
  std::istringstream in(story);
  std::string out;
  std::string line;
  Player player;
  bool expected_part = false;
  std::string said;
  while (std::getline(in, line)) {
    if (expected_part) {
      if (!line.empty()) continue;
      expected_part = false;
      out += "\n";
      continue;
    }
    out += line + "\n";
    if (line.empty() || line[0] == '#') continue;
    if (line == "----") {
      said += player.TakeTrace();
      out += said.empty() ? "nothing happens\n" : said;
      said.clear();
      expected_part = true;
      continue;
    }
    if (!player.Run(line)) *trouble += "unknown command: " + line + "\n";
    said += player.TakeTrace() + player.TakeStatus();
    if (!player.violation().empty()) {
      *trouble += "after '" + line + "': " + player.violation() + "\n";
      break;
    }
  }
  return out;
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> Stories() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(SKEIN_STORIES)) {
    const bool story = file.path().extension() == ".txt" && file.path().stem() != "CMakeLists";
    if (story) names.push_back(file.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Story : public testing::TestWithParam<std::string> {};

TEST_P(Story, HappensAsTold) {
  const std::filesystem::path path = std::filesystem::path(SKEIN_STORIES) / (GetParam() + ".txt");
  const std::string told = ReadFile(path);
  std::string trouble;
  const std::string happened = Play(told, &trouble);
  EXPECT_EQ(trouble, "");
  if (std::getenv("SKEIN_REWRITE") != nullptr && trouble.empty()) {
    std::ofstream(path) << happened;
  } else {
    EXPECT_EQ(happened, told);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Story, testing::ValuesIn(Stories()),
                         [](const auto& info) { return info.param; });

TEST(StoryPlayer, TellsADifferenceAndAnUnknownCommand) {
  std::string trouble;
  const std::string story = "cluster 3\nelect n1\n----\nnothing happens\n\n";
  EXPECT_NE(Play(story, &trouble), story);
  EXPECT_EQ(trouble, "");
  Play("cluster 3\nfly n1\n----\n", &trouble);
  EXPECT_NE(trouble.find("fly n1"), std::string::npos);
}

}  // namespace
}  // namespace skein
