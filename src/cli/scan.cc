#include <fmt/format.h>

#include "cli/command.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct ScanFlags {
  std::string prefix;
  std::string start;
  std::string end;
  uint64_t limit = 0;
  bool reverse = false;
  bool keys_only = false;
  bool count = false;
  ReadFlags read;
};

absl::Status FillRange(const Globals& globals, const ScanFlags& flags, ScanOptions* options) {
  const std::pair<const std::string*, std::string*> parts[] = {{&flags.prefix, &options->prefix},
                                                               {&flags.start, &options->start},
                                                               {&flags.end, &options->end}};
  for (const auto& [argument, bytes] : parts) {
    const auto decoded = DecodeArgument(globals.encoding(), *argument);
    if (!decoded.ok()) return decoded.status();
    *bytes = *decoded;
  }
  return absl::OkStatus();
}

int RunCount(const Globals& globals, const ScanOptions& options) {
  const auto count = globals.Connect()->Count(options);
  if (!count.ok()) return Fail(globals, "scan", count.status());
  if (globals.output == Output::kJson) {
    PrintJson({{"count", *count}});
  } else {
    fmt::print("{}\n", *count);
  }
  return kExitDone;
}

// One line, or one JSON object in a line, for each item as it comes. False: nobody reads them.
bool PrintItem(const Globals& globals, const ScanOptions& options, const KeyValue& item) {
  if (globals.output == Output::kJson) {
    nlohmann::ordered_json json;
    SetBytes(&json, "key", item.key);
    if (!options.keys_only) SetBytes(&json, "value", item.value);
    json["version"] = item.version;
    fmt::print("{}\n", json.dump());
  } else {
    fmt::print("{}", Printable(globals.encoding(), item.key));
    if (!options.keys_only) fmt::print("\t{}", Printable(globals.encoding(), item.value));
    fmt::print("\n");
  }
  return std::ferror(stdout) == 0 && !Interrupted();
}

int RunScan(const Globals& globals, const ScanFlags& flags) {
  ScanOptions options;
  const absl::Status range = FillRange(globals, flags, &options);
  if (!range.ok()) return FailUsage(MessageOf(range));
  options.limit = flags.limit;
  options.reverse = flags.reverse;
  options.keys_only = flags.keys_only;
  options.read = flags.read.Options(globals);
  if (flags.count) return RunCount(globals, options);
  CatchInterrupt();
  const bool table = ListOutput(globals) == Output::kTable;
  std::vector<std::vector<std::string>> rows = {{"KEY", "VERSION", "VALUE"}};
  if (flags.keys_only) rows[0].pop_back();
  // A table must know all its rows to align them: a long scan falls back to lines.
  constexpr size_t kTableRowsMax = 1000;
  bool lines = !table;
  const auto scan = globals.Connect()->Scan(options, [&](KeyValue item) {
    if (lines) return PrintItem(globals, options, item);
    rows.push_back({Printable(globals.encoding(), item.key), std::to_string(item.version)});
    if (!flags.keys_only) rows.back().push_back(Printable(globals.encoding(), item.value));
    if (rows.size() > kTableRowsMax) {
      PrintTable(rows);
      lines = true;
    }
    return !Interrupted();
  });
  if (!lines) PrintTable(rows);
  if (!scan.ok()) return Fail(globals, "scan", scan.status());
  return Interrupted() ? kExitFailed : kExitDone;
}

}  // namespace

void AddScan(CLI::App* app, Globals* globals) {
  auto flags = std::make_shared<ScanFlags>();
  CLI::App* command =
      app->add_subcommand("scan", "List keys in order, with their values, from one snapshot");
  auto* prefix = command->add_option("PREFIX", flags->prefix, "only keys that begin with this");
  command->add_option("--start", flags->start, "first key, inclusive")->excludes(prefix);
  command->add_option("--end", flags->end, "last key, exclusive")->excludes(prefix);
  command->add_option("--limit", flags->limit, "at most so many; 0: all")->capture_default_str();
  command->add_flag("--reverse", flags->reverse, "from the last key to the first");
  command->add_flag("--keys-only", flags->keys_only, "without values");
  command->add_flag("--count", flags->count, "only how many there are");
  flags->read.AddTo(command);
  command->footer(
      "With --output json, each item is one JSON object in a line of its own.\n"
      "Examples:\n"
      "  skein scan user: --limit 10\n"
      "  skein scan --start a --end b --keys-only\n"
      "  skein scan user: --count");
  command->callback([=] { globals->run = [=] { return RunScan(*globals, *flags); }; });
}

}  // namespace skein::cli
