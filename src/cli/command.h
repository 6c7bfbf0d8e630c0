// What the subcommands of `skein` share: the global options, the client, exit codes, and how
// trouble is told. Each subcommand is a file of its own with one Add function, which registers
// its options and sets `Globals::run` when it is chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "skein/client.h"

namespace skein::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;    // failed or unavailable
inline constexpr int kExitUsage = 2;     // wrong usage
inline constexpr int kExitNotFound = 3;  // key not found, condition not met, change refused

enum class Output { kDefault, kTable, kJson, kPlain };
enum class Encoding { kRaw, kHex, kBase64 };

struct Globals {
  std::string endpoints = "127.0.0.1:7411,127.0.0.1:7412,127.0.0.1:7413";
  Output output = Output::kDefault;
  double timeout_seconds = 5;
  bool hex = false;
  bool base64 = false;
  std::function<int()> run;

  Encoding encoding() const {
    return hex ? Encoding::kHex : base64 ? Encoding::kBase64 : Encoding::kRaw;
  }
  std::vector<std::string> EndpointList() const;
  std::chrono::milliseconds Timeout() const;
  std::unique_ptr<Client> Connect() const;
};

void AddPut(CLI::App* app, Globals* globals);
void AddGet(CLI::App* app, Globals* globals);
void AddDel(CLI::App* app, Globals* globals);
void AddScan(CLI::App* app, Globals* globals);
void AddStatus(CLI::App* app, Globals* globals);
void AddLag(CLI::App* app, Globals* globals);
void AddMember(CLI::App* app, Globals* globals);
void AddTransfer(CLI::App* app, Globals* globals);
void AddCluster(CLI::App* app, Globals* globals);
void AddDivergent(CLI::App* app, Globals* globals);
void AddBench(CLI::App* app, Globals* globals);
void AddCompletion(CLI::App* app, Globals* globals);

// `--consistency`, `--read-from` and what they mean.
struct ReadFlags {
  std::string consistency = "own";
  std::string from = "followers";

  void AddTo(CLI::App* command);
  ReadOptions Options(const Globals& globals) const;
};

// `--ack` and what it means.
struct WriteFlags {
  std::string ack = "quorum";

  void AddTo(CLI::App* command);
  WriteOptions Options(const Globals& globals) const;
};

// Says on standard error what failed, where, and what to do; returns the exit code.
int Fail(const Globals& globals, const std::string& what, const absl::Status& status);
// Wrong usage that only shows after parsing.
int FailUsage(const std::string& message);

const char* AckName(Ack ack);

// Empty if `text` is HOST:PORT, else what is wrong with it.
std::string CheckAddress(const std::string& text);

// Asks on the terminal, where no answer means no.
bool Confirmed(const std::string& question);
// Some seconds; ends early if a signal comes.
void Pause(double seconds);

// Ctrl-C (and SIGTERM) only set a flag from now on, so that a long command can end in order.
void CatchInterrupt();
bool Interrupted();

}  // namespace skein::cli
