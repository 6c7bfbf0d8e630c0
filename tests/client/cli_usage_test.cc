// The binary `skein` as a user meets it without a cluster: wrong usage ends with 2 and says why,
// an unreachable cluster with 1.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

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
                                "--timeout 0 get k"}) {
    const Ended run = Skein(arguments);
    EXPECT_EQ(run.code, 2) << arguments << "\n" << run.output;
    EXPECT_FALSE(run.output.empty()) << arguments;
  }
}

TEST(CliUsageTest, AnUnknownCommandIsNamed) {
  EXPECT_NE(Skein("nonsense --hex").output.find("unknown command 'nonsense'"), std::string::npos);
}

TEST(CliUsageTest, HelpHasAnExampleForEveryCommand) {
  for (const char* command : {"", "put", "get", "del", "scan", "status", "lag", "bench",
                              "bench put", "bench get", "bench mixed", "completion"}) {
    const Ended run = Skein(std::string(command) + " --help");
    EXPECT_EQ(run.code, 0) << command;
    EXPECT_NE(run.output.find("Example"), std::string::npos) << command;
  }
}

TEST(CliUsageTest, AnUnreachableClusterEndsWithOneAndNamesTheEndpoint) {
  for (const char* command :
       {"put k v", "get k", "del k", "scan", "status", "lag", "bench put --duration 1"}) {
    const Ended run = Skein(std::string("--endpoints 127.0.0.1:1 --timeout 2 ") + command);
    EXPECT_EQ(run.code, 1) << command << "\n" << run.output;
    EXPECT_NE(run.output.find("127.0.0.1:1"), std::string::npos) << command << "\n" << run.output;
  }
}

TEST(CliUsageTest, CompletionScriptsAreComplete) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Ended run = Skein(std::string("completion ") + shell);
    EXPECT_EQ(run.code, 0);
    for (const char* word : {"put", "scan", "bench", "endpoints", "consistency"}) {
      EXPECT_NE(run.output.find(word), std::string::npos) << shell << " " << word;
    }
  }
  EXPECT_EQ(Skein("completion bash | bash -n").code, 0);
}

}  // namespace
}  // namespace skein
