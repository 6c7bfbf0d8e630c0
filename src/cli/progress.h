// What a long command tells on standard error while it is at work: on a terminal one line with a
// bar, rewritten again and again; elsewhere plain lines, one when a stage begins and then one every
// few seconds. Not thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace skein::cli {

class Progress {
 public:
  Progress();
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `stage` says what is waited for, `text` the same with numbers. `fraction` of the work is done,
  // from 0 to 1; nullopt: nobody knows.
  void Show(const std::string& stage, const std::string& text,
            std::optional<double> fraction = std::nullopt);
  // A line that stays.
  void Say(const std::string& line);
  // Takes the line away before something else is printed.
  void Clear();

 private:
  const bool terminal_;
  bool shown_ = false;
  std::string stage_;
  std::chrono::steady_clock::time_point said_at_;
};

// `[#####.....]  50 %`
std::string Bar(double fraction);

}  // namespace skein::cli
