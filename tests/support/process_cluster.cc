#include "tests/support/process_cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "common/check.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

constexpr int kFirstPort = 20000;
constexpr int kPorts = 12000;
constexpr size_t kLogDumped = 8000;

// A name in the abstract socket space is held by one process and vanishes with it.
int ReservePort(int port) {
  const std::string name = "skein-test-port-" + std::to_string(port);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), address.sun_path + 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SKEIN_CHECK(fd >= 0);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0) return fd;
  ::close(fd);
  return -1;
}

bool CanListen(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SKEIN_CHECK(fd >= 0);
  const bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return free;
}

// In the child: only calls that are safe after a fork of a process with threads.
[[noreturn]] void Become(char* const* arguments, const char* output_path, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);  // Ctrl-C on a terminal is for the parent alone
  if (::getppid() != parent) ::_exit(127);
  const int in = ::open("/dev/null", O_RDONLY);
  const int out = ::open(output_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(out, 2);
  ::syscall(SYS_close_range, 3U, ~0U, 0U);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

FreePort::FreePort() {
  static int next = static_cast<int>(::getpid()) * 7 % kPorts;
  for (int tried = 0; tried < kPorts; ++tried) {
    const int port = kFirstPort + next;
    next = (next + 1) % kPorts;
    reservation_ = ReservePort(port);
    if (reservation_ < 0) continue;
    number_ = port;
    if (CanListen(port)) return;
    ::close(reservation_);
  }
  SKEIN_CHECK(!"no port is free");
}

FreePort::FreePort(FreePort&& other) noexcept
    : number_(other.number_), reservation_(std::exchange(other.reservation_, -1)) {}

FreePort::~FreePort() {
  if (reservation_ >= 0) ::close(reservation_);
}

Process::Process(const std::vector<std::string>& command, std::string output_path)
    : output_path_(std::move(output_path)) {
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.data()));
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::_Fork();  // without the fork handlers of libraries: the child becomes another program
  SKEIN_CHECK(pid_ >= 0);
  if (pid_ == 0) Become(arguments.data(), output_path_.c_str(), parent);
}

Process::~Process() { Kill(); }

void Process::Reap(int options) {
  int status = 0;
  if (ended_ || ::waitpid(pid_, &status, options) != pid_) return;
  ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool Process::running() {
  Reap(WNOHANG);
  return !ended_;
}

void Process::Signal(int signal) {
  if (running()) ::kill(pid_, signal);
}

void Process::Kill() {
  Signal(SIGKILL);
  Reap(0);
}

std::optional<int> Process::WaitForEnd(std::chrono::milliseconds timeout) {
  WaitUntil(timeout, [this] { return !running(); });
  return ended_;
}

std::string Process::Output() const { return ReadAll(output_path_); }

ProcessCluster::ProcessCluster(const ProcessClusterOptions& options)
    : options_(options),
      ports_(options.nodes + options.spares),
      processes_(options.nodes + options.spares),
      joins_(options.nodes + options.spares),
      own_flags_(options.nodes + options.spares) {
  directory_.Keep(options.keep);
  if (options.proxied) {
    proxy_ = std::make_unique<FaultProxy>();
    for (int from = 0; from < size(); ++from) {
      link_ports_.emplace_back(size());
      links_.emplace_back();
      for (int to = 0; to < size(); ++to) {
        links_[from].push_back(
            proxy_->AddLink(link_ports_[from][to].number(), ports_[to].number()));
      }
    }
  }
  std::fill(joins_.begin() + options.nodes, joins_.end(), true);
  for (int node = 0; node < options.nodes; ++node) Start(node);
  status_client_ = NewClient();
}

ProcessCluster::~ProcessCluster() {
  status_client_.reset();
  for (auto& process : processes_) process.reset();
  if (!::testing::Test::HasFailure()) return;
  for (int node = 0; node < size(); ++node) {
    const std::string log = Log(node);
    const size_t from = log.size() > kLogDumped ? log.size() - kLogDumped : 0;
    std::fprintf(stderr, "---- the end of the log of %s\n%s", Name(node).c_str(),
                 log.substr(from).c_str());
  }
}

std::vector<std::string> ProcessCluster::Addresses() const {
  std::vector<std::string> addresses;
  for (int node = 0; node < size(); ++node) addresses.push_back(Address(node));
  return addresses;
}

std::vector<std::string> ProcessCluster::Command(int node) const {
  std::string cluster;
  std::string join;
  std::string links;
  for (int i = 0; i < options_.nodes; ++i) {
    cluster += (i == 0 ? "" : ",") + Name(i) + "=" + Address(i);
    if (!options_.proxied || i == node) continue;
    links += (links.empty() ? "" : ",") + Name(i) + "=" + link_ports_[node][i].address();
  }
  for (const int other : Others(node)) join += (join.empty() ? "" : ",") + Address(other);
  std::vector<std::string> command = {SkeindPath(),
                                      "--id",
                                      Name(node),
                                      "--data-dir",
                                      DataDirectory(node),
                                      "--listen",
                                      Address(node),
                                      joins_[node] ? "--join" : "--initial-cluster",
                                      joins_[node] ? join : cluster};
  if (!links.empty()) command.insert(command.end(), {"--peer-addresses", links});
  command.insert(command.end(), options_.flags.begin(), options_.flags.end());
  command.insert(command.end(), own_flags_[node].begin(), own_flags_[node].end());
  return command;
}

std::string ProcessCluster::Log(int node) const {
  return ReadAll(directory_.File(Name(node) + ".log"));
}

void ProcessCluster::Start(int node) {
  SKEIN_CHECK(processes_[node] == nullptr || !processes_[node]->running());
  processes_[node] = std::make_unique<Process>(Command(node), directory_.File(Name(node) + ".log"));
}

void ProcessCluster::StartAnew(int node) {
  SKEIN_CHECK(processes_[node] == nullptr || !processes_[node]->running());
  std::filesystem::remove_all(DataDirectory(node));
  joins_[node] = true;
  Start(node);
}

void ProcessCluster::Kill(int node) { processes_[node]->Kill(); }
void ProcessCluster::Pause(int node) { processes_[node]->Signal(SIGSTOP); }
void ProcessCluster::Resume(int node) { processes_[node]->Signal(SIGCONT); }

std::optional<int> ProcessCluster::Terminate(int node, std::chrono::milliseconds timeout) {
  processes_[node]->Signal(SIGTERM);
  return processes_[node]->WaitForEnd(timeout);
}

int ProcessCluster::WaitForLeader(std::chrono::milliseconds timeout) {
  int leader = -1;
  WaitUntil(timeout, [&] {
    const auto status = status_client_->Status();
    if (!status.ok()) return false;
    for (const NodeStatus& node : status->nodes) {
      if (!node.reachable || node.role != NodeRole::kLeader || !node.has_quorum) continue;
      if (node.id != status->leader_id) continue;
      for (int i = 0; i < size(); ++i) leader = Name(i) == node.id ? i : leader;
    }
    return leader >= 0;
  });
  return leader;
}

std::optional<NodeStatus> ProcessCluster::StatusOf(int node) {
  const auto status = status_client_->Status();
  if (!status.ok()) return std::nullopt;
  for (const NodeStatus& candidate : status->nodes) {
    if (candidate.id == Name(node) && candidate.reachable) return candidate;
  }
  return std::nullopt;
}

bool ProcessCluster::WaitForApplied(uint64_t revision, const std::vector<int>& nodes,
                                    std::chrono::milliseconds timeout) {
  return WaitUntil(timeout, [&] {
    return std::all_of(nodes.begin(), nodes.end(), [&](int node) {
      const auto status = StatusOf(node);
      return status && status->applied_revision >= revision;
    });
  });
}

std::vector<int> ProcessCluster::AllNodes() const { return Others(-1); }

std::vector<int> ProcessCluster::Others(int node) const {
  std::vector<int> others;
  for (int i = 0; i < size(); ++i) {
    if (i != node) others.push_back(i);
  }
  return others;
}

std::unique_ptr<Client> ProcessCluster::NewClient(const ClientOptions& options) const {
  return Client::Connect(Addresses(), options);
}

Ended RunSkeind(const std::vector<std::string>& flags, const TempDir& directory,
                std::chrono::milliseconds timeout) {
  static int run = 0;
  std::vector<std::string> command = {SkeindPath()};
  command.insert(command.end(), flags.begin(), flags.end());
  Process process(command, directory.File("run" + std::to_string(++run) + ".log"));
  Ended ended;
  ended.code = process.WaitForEnd(timeout);
  process.Kill();
  ended.output = process.Output();
  return ended;
}

std::string SkeindPath() { return SKEIN_SKEIND; }

}  // namespace skein
