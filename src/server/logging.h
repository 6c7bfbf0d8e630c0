// The log of a node: one line per event, as key=value pairs or as JSON. Never values of users'
// data.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace skein {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogOptions {
  std::string level = "info";   // debug, info, warning, error
  std::string format = "text";  // text, json
};

using LogField = std::pair<std::string_view, std::string>;

// Thread-safe.
class Logger {
 public:
  // Logs go to standard error, each line with the node's name. kInvalidArgument for unknown names.
  static absl::StatusOr<std::unique_ptr<Logger>> Create(const LogOptions& options,
                                                        const std::string& node_name);
  ~Logger();

  // `event` is a fixed word such as `role_changed`.
  void Event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);

 private:
  struct Impl;
  explicit Logger(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace skein
