// The binary `skein` as a user runs it: in a pipe, or in a terminal where one can type.
#pragma once

#include <pty.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "common/check.h"
#include "common/mutex.h"
#include "tests/support/wait.h"

namespace skein {

enum class Through { kPipe, kTerminal, kNarrowTerminal };

// Killed when this object goes away.
class CliProcess {
 public:
  // `arguments` as in a shell. Both streams are collected.
  explicit CliProcess(const std::string& arguments, Through through = Through::kPipe) {
    const std::string command =
        "exec env -u SKEIN_ENDPOINTS NO_COLOR=1 " SKEIN_BINARY " " + arguments;
    int ends[2] = {-1, -1};  // ours, theirs
    winsize size = {};
    size.ws_col = through == Through::kNarrowTerminal ? 80 : 160;
    size.ws_row = 24;
    const bool terminal = through != Through::kPipe;
    SKEIN_CHECK((terminal ? openpty(&ends[0], &ends[1], nullptr, nullptr, &size) : pipe(ends)) ==
                0);
    pid_ = ::_Fork();  // without the fork handlers of libraries: the child becomes another program
    SKEIN_CHECK(pid_ >= 0);
    if (pid_ == 0) Become(command.c_str(), ends, terminal);
    ::close(ends[1]);
    end_ = ends[0];
    reader_ = std::thread([this] { Read(); });
  }
  ~CliProcess() {
    if (!code_) ::kill(pid_, SIGKILL);
    WaitForEnd();
    ::close(end_);
  }
  CliProcess(const CliProcess&) = delete;
  CliProcess& operator=(const CliProcess&) = delete;

  std::string output() {
    MutexLock lock(&mu_);
    return output_;
  }
  // True: it has said this by now.
  bool Says(const std::string& words, std::chrono::seconds timeout = std::chrono::seconds(20)) {
    return WaitUntil(timeout, [&] { return output().find(words) != std::string::npos; });
  }
  void Signal(int signal) { ::kill(pid_, signal); }
  // Into its terminal.
  void Type(const std::string& text) {
    SKEIN_CHECK(::write(end_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  // The exit code, or minus the signal that ended it.
  int WaitForEnd() {
    if (!code_) {
      reader_.join();  // until the other end is closed
      int status = 0;
      SKEIN_CHECK(::waitpid(pid_, &status, 0) == pid_);
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return *code_;
  }

 private:
  [[noreturn]] static void Become(const char* command, const int* ends, bool terminal) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ends[0]);
    if (terminal) {
      ::login_tty(ends[1]);
    } else {
      FILE* nothing = ::freopen("/dev/null", "r", stdin);
      if (nothing == nullptr) ::_exit(127);
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(ends[1], STDERR_FILENO);
      ::close(ends[1]);
    }
    ::execl("/bin/sh", "sh", "-c", command, nullptr);
    ::_exit(127);
  }

  void Read() {
    std::array<char, 4096> buffer;
    while (true) {
      const ssize_t size = ::read(end_, buffer.data(), buffer.size());
      if (size <= 0) return;  // a terminal ends in an error
      MutexLock lock(&mu_);
      output_.append(buffer.data(), static_cast<size_t>(size));
    }
  }

  pid_t pid_ = -1;
  int end_ = -1;
  std::optional<int> code_;
  Mutex mu_;
  std::string output_ ABSL_GUARDED_BY(mu_);
  std::thread reader_;
};

struct Ran {
  int code = -1;
  std::string output;  // both streams
};

inline Ran RunSkein(const std::string& arguments, Through through = Through::kPipe) {
  CliProcess process(arguments, through);
  Ran ran;
  ran.code = process.WaitForEnd();
  ran.output = process.output();
  return ran;
}

}  // namespace skein
