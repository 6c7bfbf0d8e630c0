#include "server/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace skein {
namespace {

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// A value that holds spaces or quotes is quoted.
std::string Quoted(const std::string& value) {
  if (!value.empty() && value.find_first_of(" \"=\n\t") == std::string::npos) return value;
  return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

struct Logger::Impl {
  bool json = false;
  std::string node;
  std::unique_ptr<spdlog::logger> out;
};

Logger::Logger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Logger::~Logger() = default;

absl::StatusOr<std::unique_ptr<Logger>> Logger::Create(const LogOptions& options,
                                                       const std::string& node_name) {
  const spdlog::level::level_enum level = spdlog::level::from_str(options.level);
  if (level == spdlog::level::off && options.level != "off") {
    return absl::InvalidArgumentError("unknown log level '" + options.level +
                                      "', use debug, info, warning, error or off");
  }
  if (options.format != "text" && options.format != "json") {
    return absl::InvalidArgumentError("unknown log format '" + options.format +
                                      "', use text or json");
  }
  auto impl = std::make_unique<Impl>();
  impl->json = options.format == "json";
  impl->node = node_name;
  impl->out =
      std::make_unique<spdlog::logger>("skein", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  impl->out->set_level(level);
  impl->out->set_pattern(impl->json ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",\"level\":\"%l\",%v}"
                                    : "%Y-%m-%dT%H:%M:%S.%eZ level=%l %v",
                         spdlog::pattern_time_type::utc);
  return std::unique_ptr<Logger>(new Logger(std::move(impl)));
}

void Logger::Event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  const auto spdlog_level = ToSpdlog(level);
  if (!impl_->out->should_log(spdlog_level)) return;
  std::string line;
  if (impl_->json) {
    nlohmann::ordered_json object;
    object["node"] = impl_->node;
    object["event"] = std::string(event);
    for (const auto& [key, value] : fields) object[std::string(key)] = value;
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    line = line.substr(1, line.size() - 2);
  } else {
    line = "node=" + impl_->node + " event=" + std::string(event);
    for (const auto& [key, value] : fields) line += " " + std::string(key) + "=" + Quoted(value);
  }
  impl_->out->log(spdlog_level, "{}", line);
  impl_->out->flush();
}

}  // namespace skein
