// The binary `skein` as a user meets it without a cluster: wrong usage ends with 2 and says why,
// an unreachable cluster with 1.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <utility>

namespace skein {
namespace {

struct Ended {
  int code = -1;
  std::string output;  // both streams
};

Ended Skein(const std::string& arguments) {
  Ended run;
  const std::string command =
      "env -u SKEIN_ENDPOINTS " SKEIN_BINARY " " + arguments + " 2>&1 </dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return run;
  std::array<char, 4096> buffer;
  size_t size = 0;
  while ((size = fread(buffer.data(), 1, buffer.size(), pipe)) > 0) {
    run.output.append(buffer.data(), size);
  }
  run.code = WEXITSTATUS(pclose(pipe));
  return run;
}

TEST(CliUsageTest, WrongUsageEndsWithTwo) {
  for (const char* arguments : {"",
                                "nonsense",
                                "put",
                                "put k",
                                "get",
                                "get a b",
                                "get k --consistency sometimes",
                                "get k --consistency at-least:",
                                "get k --consistency bounded:x",
                                "put k v --ack most",
                                "--endpoints nowhere get k",
                                "--endpoints host:99999 get k",
                                "--endpoints , get k",
                                "--output xml get k",
                                "--hex get abc",
                                "--hex --base64 get ab",
                                "put k @/no/such/file",
                                "bench",
                                "bench swim",
                                "bench put --clients 0",
                                "bench put --rate -1",
                                "bench put --clients 1 --connections 2",
                                "scan p --start a",
                                "completion cmd",
                                "member",
                                "member swim",
                                "member add n4",
                                "member add n4 h:1 --learner --promote-when-caught-up",
                                "member add n4 h:1 --upstream a/b",
                                "member upstream n4",
                                "member upstream n4 a/b",
                                "member add n4 nowhere",
                                "member add 'n 4' 127.0.0.1:9",
                                "member add n4 127.0.0.1:9 --wait-timeout 3",
                                "member add n4 127.0.0.1:9 --wait --wait-timeout soon",
                                "member remove",
                                "member remove n2 --force",
                                "member move n2",
                                "member move n2 127.0.0.1:0",
                                "member replace n2 n5",
                                "member replace n2 n2 127.0.0.1:9",
                                "member wait",
                                "member wait n2 --wait-timeout soon",
                                "cluster",
                                "cluster recover",
                                "cluster recover --data-dir /no/such/directory",
                                "divergent",
                                "divergent list",
                                "divergent show --data-dir /",
                                "divergent replay --data-dir / --all some.tail",
                                "transfer n1 n2",
                                "--timeout 0 get k"}) {
    const Ended run = Skein(arguments);
    EXPECT_EQ(run.code, 2) << arguments << "\n" << run.output;
    EXPECT_FALSE(run.output.empty()) << arguments;
  }
}

TEST(CliUsageTest, WhatIsWrongStandsInOneLineThatNamesTheHelp) {
  for (const auto& [arguments, expected] :
       {std::pair("nonsense --hex", "skein: there is no command 'nonsense' (see skein --help)\n"),
        std::pair("--bogus", "skein: there is no flag '--bogus' (see skein --help)\n"),
        std::pair("put", "skein: KEY is required (see skein put --help)\n"),
        std::pair("member add n4 --bogus h:1", "(see skein member add --help)\n")}) {
    const std::string output = Skein(arguments).output;
    EXPECT_TRUE(output.starts_with("skein: ") && output.ends_with(expected)) << output;
    EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 1) << output;
  }
}

TEST(CliUsageTest, HelpHasAnExampleForEveryCommand) {
  for (const char* command : {"",
                              "put",
                              "get",
                              "del",
                              "scan",
                              "status",
                              "lag",
                              "bench",
                              "bench put",
                              "bench get",
                              "bench mixed",
                              "completion",
                              "member",
                              "member list",
                              "member add",
                              "member promote",
                              "member remove",
                              "member move",
                              "member replace",
                              "member wait",
                              "transfer"}) {
    const Ended run = Skein(std::string(command) + " --help");
    EXPECT_EQ(run.code, 0) << command;
    EXPECT_NE(run.output.find("Example"), std::string::npos) << command;
  }
}

TEST(CliUsageTest, AnUnreachableClusterEndsWithOneAndNamesTheEndpoint) {
  for (const char* command :
       {"put k v", "get k", "del k", "scan", "status", "lag", "bench put --duration 1",
        "member list", "member add n4 127.0.0.1:9", "member promote n4", "member remove n4",
        "member move n4 127.0.0.1:9", "member upstream n4 n2", "member replace n2 n5 127.0.0.1:9",
        "transfer"}) {
    const Ended run = Skein(std::string("--endpoints 127.0.0.1:1 --timeout 2 ") + command);
    EXPECT_EQ(run.code, 1) << command << "\n" << run.output;
    EXPECT_NE(run.output.find("127.0.0.1:1"), std::string::npos) << command << "\n" << run.output;
  }
}

TEST(CliUsageTest, CompletionScriptsAreComplete) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Ended run = Skein(std::string("completion ") + shell);
    EXPECT_EQ(run.code, 0);
    for (const char* word : {"put", "scan", "bench", "endpoints", "consistency", "promote",
                             "promote-when-caught-up", "transfer", "upstream", "learner"}) {
      EXPECT_NE(run.output.find(word), std::string::npos) << shell << " " << word;
    }
  }
  EXPECT_EQ(Skein("completion bash | bash -n").code, 0);
}

// What bash offers after the words, the last of which is being typed.
std::string Offered(const std::string& words) {
  return Skein("completion bash | bash -c 'source /dev/stdin; COMP_WORDS=(skein " + words +
               "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _skein; echo \"${COMPREPLY[*]}\"'; true")
      .output;
}

TEST(CliUsageTest, CompletionKnowsCommandsWithinCommands) {
  EXPECT_EQ(Offered("me"), "member\n");
  EXPECT_EQ(Offered("member re"), "remove replace\n");
  EXPECT_EQ(Offered("--timeout 3 member add n4 --w"), "--wait --wait-timeout\n");
  EXPECT_EQ(Offered("bench put --pre"), "--preload\n");
}

}  // namespace
}  // namespace skein
