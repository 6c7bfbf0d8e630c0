#include "tests/sim/trace.h"

#include <fmt/format.h>

#include <cstdio>

namespace skein::sim {

void Trace::Say(const std::string& line) {
  if (!on()) return;
  const uint64_t now_us = scheduler_->now_us();
  std::string stamped = fmt::format("{:>4}.{:06} {}", now_us / 1'000'000, now_us % 1'000'000, line);
  if (live_) {
    fmt::print("{}\n", stamped);
    std::fflush(stdout);
    return;
  }
  lines_.push_back(std::move(stamped));
  if (lines_.size() > lines_max_) lines_.pop_front();
}

std::string Trace::LastLines() const {
  std::string text;
  for (const std::string& line : lines_) text += line + "\n";
  return text;
}

}  // namespace skein::sim
