#include "cli/catch_up.h"

#include <fmt/format.h>

#include "cli/text.h"

namespace skein::cli {

const char* CatchUpWayName(CatchUpWay way) {
  switch (way) {
    case CatchUpWay::kLog:
      return "log";
    case CatchUpWay::kSnapshot:
      return "snapshot";
    case CatchUpWay::kInstall:
      return "install";
    case CatchUpWay::kUnknown:
      break;
  }
  return "unknown";
}

std::optional<uint64_t> SecondsLeft(const CatchUpState& state) {
  if (state.bytes_per_second == 0) return std::nullopt;
  return (state.bytes_left + state.bytes_per_second - 1) / state.bytes_per_second;
}

std::string CatchUpWords(const CatchUpState& state) {
  const std::string from = state.source_id.empty() ? "" : " from " + state.source_id;
  std::string words;
  switch (state.way) {
    case CatchUpWay::kInstall:
      return fmt::format("puts the snapshot{} in place", from);
    case CatchUpWay::kSnapshot:
      words = fmt::format("catches up by snapshot{}: {} of {}", from, HumanBytes(state.bytes_done),
                          HumanBytes(state.bytes_done + state.bytes_left));
      break;
    case CatchUpWay::kLog:
      words = fmt::format("catches up by log: {} left", HumanBytes(state.bytes_left));
      break;
    case CatchUpWay::kUnknown:
      return "is about to catch up";
  }
  if (state.bytes_per_second > 0)
    words += fmt::format(", {}/s", HumanBytes(state.bytes_per_second));
  const std::optional<uint64_t> left = SecondsLeft(state);
  if (left.has_value()) words += fmt::format(", {} left", HumanSeconds(*left));
  return words;
}

std::string CatchUpPlain(const NodeStatus& node) {
  if (!node.catch_up.has_value()) return "";
  const CatchUpState& state = *node.catch_up;
  const std::optional<uint64_t> left = SecondsLeft(state);
  return fmt::format(
      " catch_up={} source={} bytes_done={} bytes_left={} bytes_per_second={} seconds_left={}",
      CatchUpWayName(state.way), state.source_id.empty() ? "-" : state.source_id, state.bytes_done,
      state.bytes_left, state.bytes_per_second, left.has_value() ? std::to_string(*left) : "-");
}

nlohmann::ordered_json CatchUpJson(const NodeStatus& node) {
  if (!node.catch_up.has_value()) return nullptr;
  const CatchUpState& state = *node.catch_up;
  nlohmann::ordered_json json = {{"way", CatchUpWayName(state.way)},
                                 {"source", nullptr},
                                 {"bytes_done", state.bytes_done},
                                 {"bytes_left", state.bytes_left},
                                 {"bytes_per_second", state.bytes_per_second},
                                 {"seconds_left", nullptr}};
  if (!state.source_id.empty()) json["source"] = state.source_id;
  const std::optional<uint64_t> left = SecondsLeft(state);
  if (left.has_value()) json["seconds_left"] = *left;
  return json;
}

}  // namespace skein::cli
