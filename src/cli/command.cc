#include "cli/command.h"

#include <fmt/format.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

namespace skein::cli {
namespace {

volatile sig_atomic_t interrupted = 0;

constexpr char kAtLeast[] = "at-least:";
constexpr char kBounded[] = "bounded:";

bool ParseNumber(const std::string& text, uint64_t* number) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) return false;
  *number = std::strtoull(text.c_str(), nullptr, 10);
  return true;
}

bool ParseConsistency(const std::string& text, ReadOptions* options) {
  uint64_t number = 0;
  if (text == "own") {
    options->consistency = Consistency::kOwnWrites;
  } else if (text == "linearizable") {
    options->consistency = Consistency::kLinearizable;
  } else if (text == "any") {
    options->consistency = Consistency::kAny;
  } else if (text.rfind(kAtLeast, 0) == 0 &&
             ParseNumber(text.substr(sizeof(kAtLeast) - 1), &number)) {
    options->consistency = Consistency::kAtLeast;
    options->at_least_revision = number;
  } else if (text.rfind(kBounded, 0) == 0 &&
             ParseNumber(text.substr(sizeof(kBounded) - 1), &number)) {
    options->consistency = Consistency::kBounded;
    options->max_staleness = std::chrono::milliseconds(number);
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::vector<std::string> Globals::EndpointList() const {
  std::vector<std::string> list;
  size_t start = 0;
  while (start <= endpoints.size()) {
    const size_t comma = std::min(endpoints.find(',', start), endpoints.size());
    if (comma > start) list.push_back(endpoints.substr(start, comma - start));
    start = comma + 1;
  }
  return list;
}

std::chrono::milliseconds Globals::Timeout() const {
  return std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000));
}

std::unique_ptr<Client> Globals::Connect() const {
  ClientOptions options;
  options.deadline = Timeout();
  return Client::Connect(EndpointList(), options);
}

void ReadFlags::AddTo(CLI::App* command) {
  command
      ->add_option("--consistency", consistency,
                   "what the read must see: own (what this client wrote), linearizable, "
                   "at-least:REVISION, bounded:MILLISECONDS or any")
      ->capture_default_str()
      ->check([](const std::string& text) {
        ReadOptions ignored;
        if (ParseConsistency(text, &ignored)) return std::string();
        return "'" + text + "' is not own, linearizable, at-least:REV, bounded:MS or any";
      });
  command->add_option("--read-from", from, "which nodes are asked: followers, leader or any")
      ->capture_default_str()
      ->check(CLI::IsMember({"followers", "leader", "any"}));
}

ReadOptions ReadFlags::Options(const Globals& globals) const {
  ReadOptions options;
  ParseConsistency(consistency, &options);
  options.policy = from == "leader" ? ReadPolicy::kLeader
                   : from == "any"  ? ReadPolicy::kAny
                                    : ReadPolicy::kFollowers;
  options.deadline = globals.Timeout();
  return options;
}

void WriteFlags::AddTo(CLI::App* command) {
  command
      ->add_option("--ack", ack,
                   "wait until the write is durable on the leader, durable on a quorum, or "
                   "applied by all: leader, quorum or all")
      ->capture_default_str()
      ->check(CLI::IsMember({"leader", "quorum", "all"}));
}

WriteOptions WriteFlags::Options(const Globals& globals) const {
  WriteOptions options;
  options.ack = ack == "leader" ? Ack::kLeader : ack == "all" ? Ack::kAll : Ack::kQuorum;
  options.deadline = globals.Timeout();
  return options;
}

int Fail(const Globals& globals, const std::string& what, const absl::Status& status) {
  const ErrorDetail detail = DetailOf(status);
  const std::string code = absl::StatusCodeToString(status.code());
  const std::string reason =
      detail.reason == ErrorReason::kNone ? code : ErrorReasonName(detail.reason);
  fmt::print(stderr, "skein: {} failed: {}: {}\n", what, reason, MessageOf(status));
  fmt::print(stderr, "  endpoints: {}\n", globals.endpoints);
  if (!detail.leader_id.empty()) {
    fmt::print(stderr, "  leader:    {} {}\n", detail.leader_id, detail.leader_address);
  }
  if (detail.maybe_applied) {
    fmt::print(stderr, "  outcome:   unknown, the command may have been applied\n");
  }
  std::string hint = detail.hint;
  if (hint.empty() && status.code() == absl::StatusCode::kUnavailable) {
    hint = "see `skein status`, and name other nodes with --endpoints";
  }
  if (!hint.empty()) fmt::print(stderr, "  what to do: {}\n", hint);
  return status.code() == absl::StatusCode::kInvalidArgument ? kExitUsage : kExitFailed;
}

int FailUsage(const std::string& message) {
  fmt::print(stderr, "skein: {}\n", message);
  return kExitUsage;
}

const char* AckName(Ack ack) {
  switch (ack) {
    case Ack::kLeader:
      return "leader";
    case Ack::kQuorum:
      return "quorum";
    case Ack::kAll:
      return "all";
  }
  return "quorum";
}

std::string CheckAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  const std::string port = colon == std::string::npos ? "" : text.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      port.find_first_not_of("0123456789") == std::string::npos;
  if (colon == 0 || !digits || std::stoi(port) < 1 || std::stoi(port) > 65535) {
    return "'" + text + "' is not HOST:PORT";
  }
  return "";
}

bool Confirmed(const std::string& question) {
  fmt::print(stderr, "{} [y/N] ", question);
  std::fflush(stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return !answer.empty() && (answer[0] == 'y' || answer[0] == 'Y');
}

void Pause(double seconds) {
  const double whole = static_cast<double>(static_cast<time_t>(seconds));
  const timespec rest = {static_cast<time_t>(seconds), static_cast<long>((seconds - whole) * 1e9)};
  nanosleep(&rest, nullptr);
}

void CatchInterrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = SA_RESETHAND;  // a second Ctrl-C ends the program at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool Interrupted() { return interrupted != 0; }

}  // namespace skein::cli
