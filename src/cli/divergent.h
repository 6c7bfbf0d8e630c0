// What the commands of `skein divergent` share: the ends of logs that were cut off on a node.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/command.h"
#include "storage/divergent_tail.h"

namespace skein::cli {

void AddDivergentReplay(CLI::App* divergent, Globals* globals);

// Which of a node's files are meant.
struct TailChoice {
  std::string data_directory;
  std::vector<std::string> files;  // names, as they are listed
  bool all = false;

  void AddTo(CLI::App* command);
};

struct TailCommand {
  uint64_t revision = 0;  // that it would have had
  bool put = true;        // false: a delete
  std::string_view key;
  std::string_view value;
};

// In the order in which they were cut off. kInvalidArgument: a file is named that there is not, or
// none is chosen.
absl::StatusOr<std::vector<DivergentTail::File>> ChooseTails(const TailChoice& choice);

std::string NameOf(const DivergentTail::File& file);
const char* OperationName(const TailCommand& command);

// In the order of the log. kDataLoss: it is malformed.
absl::Status VisitCommands(const DivergentTail& tail,
                           const std::function<void(const TailCommand&)>& visit);

}  // namespace skein::cli
