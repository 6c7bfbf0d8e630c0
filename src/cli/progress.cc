#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace skein::cli {
namespace {

constexpr std::chrono::seconds kPlainInterval(5);
constexpr int kBarCells = 20;
constexpr size_t kColumnsDefault = 80;

size_t Columns() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kColumnsDefault;
  return size.ws_col;
}

}  // namespace

std::string Bar(double fraction) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  const int cells = static_cast<int>(fraction * kBarCells);
  return fmt::format("[{}{}] {:3.0f} %", std::string(static_cast<size_t>(cells), '#'),
                     std::string(static_cast<size_t>(kBarCells - cells), '.'), fraction * 100);
}

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::Show(const std::string& stage, const std::string& text,
                    std::optional<double> fraction) {
  if (terminal_) {
    const size_t most = Columns() - 1;
    std::string line = fraction.has_value() ? Bar(*fraction) + "  " + text : text;
    // Whoever gave the command knows of whom it speaks; how much is left is news.
    const size_t numbers = text.find(": ");
    if (fraction.has_value() && line.size() > most && numbers != std::string::npos) {
      line = Bar(*fraction) + "  " + text.substr(numbers + 2);
    }
    // A line that wraps could not be taken back.
    if (line.size() > most) line.resize(most);
    fmt::print(stderr, "\r\033[K{}", line);
    shown_ = true;
  } else {
    const auto now = std::chrono::steady_clock::now();
    if (stage == stage_ && now < said_at_ + kPlainInterval) return;
    stage_ = stage;
    said_at_ = now;
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
}

void Progress::Say(const std::string& line) {
  Clear();
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

void Progress::Clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace skein::cli
