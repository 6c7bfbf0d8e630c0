#include "cli/divergent.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/offline.h"
#include "cli/text.h"
#include "common/error.h"
#include "replication/command.h"

namespace skein::cli {
namespace {

// A file, and what is in it.
struct Listed {
  DivergentTail::File file;
  bool damaged = false;
  uint64_t commands = 0;
  uint64_t after_revision = 0;
  uint64_t written_ms = 0;
};

Listed LookInto(const DivergentTail::File& file) {
  Listed listed{.file = file};
  const absl::StatusOr<DivergentTail> tail = DivergentTail::Read(file.path);
  listed.damaged = !tail.ok();
  if (!tail.ok()) return listed;
  listed.after_revision = tail->after().revision.value();
  for (const EntryPtr& entry : tail->entries()) {
    listed.commands += entry->command_count();
    listed.written_ms = entry->cluster_time_ms();
  }
  return listed;
}

std::string TimeText(uint64_t ms) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<time_t>(ms / 1000)));
}

std::vector<std::string> Row(const Listed& listed) {
  const DivergentTail::File& file = listed.file;
  std::vector<std::string> row = {NameOf(file),
                                  fmt::format("{}-{}", file.first.value(), file.last.value()),
                                  std::to_string(file.term.value())};
  if (listed.damaged) {
    row.insert(row.end(), {"damaged", "-", "-"});
  } else {
    row.insert(row.end(), {std::to_string(listed.commands), std::to_string(listed.after_revision),
                           TimeText(listed.written_ms)});
  }
  return row;
}

nlohmann::ordered_json Json(const Listed& listed) {
  nlohmann::ordered_json json = {{"file", NameOf(listed.file)},
                                 {"first_index", listed.file.first.value()},
                                 {"last_index", listed.file.last.value()},
                                 {"term", listed.file.term.value()},
                                 {"bytes", listed.file.bytes},
                                 {"damaged", listed.damaged}};
  if (listed.damaged) return json;
  json["commands"] = listed.commands;
  json["after_revision"] = listed.after_revision;
  json["written_ms"] = listed.written_ms;
  return json;
}

int RunList(const Globals& globals, const std::string& data_directory) {
  const auto files = DivergentTail::List(data_directory);
  if (!files.ok()) return FailOffline("divergent list", files.status());
  std::vector<std::vector<std::string>> rows = {
      {"FILE", "ENTRIES", "TERM", "COMMANDS", "AFTER REVISION", "WRITTEN"}};
  auto json = nlohmann::ordered_json::array();
  for (const DivergentTail::File& file : *files) {
    const Listed listed = LookInto(file);
    rows.push_back(Row(listed));
    json.push_back(Json(listed));
  }
  if (ListOutput(globals) == Output::kJson) {
    PrintJson(json);
  } else if (files->empty()) {
    fmt::print(stderr, "skein: nothing was ever cut off from the log in {}\n", data_directory);
  } else if (ListOutput(globals) == Output::kTable) {
    PrintTable(rows);
  } else {
    for (size_t i = 1; i < rows.size(); ++i) fmt::print("{}\n", fmt::join(rows[i], " "));
  }
  return kExitDone;
}

void PrintCommand(const Globals& globals, const std::string& file, const TailCommand& command) {
  if (globals.output == Output::kJson) {
    nlohmann::ordered_json json = {
        {"file", file}, {"revision", command.revision}, {"operation", OperationName(command)}};
    SetBytes(&json, "key", command.key);
    if (command.put) SetBytes(&json, "value", command.value);
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print("{}\t{}\t{}", command.revision, OperationName(command),
             Printable(globals.encoding(), command.key));
  if (command.put) fmt::print("\t{}", Printable(globals.encoding(), command.value));
  fmt::print("\n");
}

int RunShow(const Globals& globals, const TailChoice& choice) {
  const auto files = ChooseTails(choice);
  if (absl::IsInvalidArgument(files.status())) return FailUsage(MessageOf(files.status()));
  if (!files.ok()) return FailOffline("divergent show", files.status());
  int code = kExitDone;
  for (const DivergentTail::File& file : *files) {
    const auto tail = DivergentTail::Read(file.path);
    const absl::Status shown =
        !tail.ok() ? tail.status() : VisitCommands(*tail, [&](const TailCommand& command) {
          PrintCommand(globals, NameOf(file), command);
        });
    if (!shown.ok()) code = FailOffline("divergent show", shown);
  }
  return code;
}

}  // namespace

void TailChoice::AddTo(CLI::App* command) {
  AddDataDirectory(command, &data_directory);
  auto* named =
      command->add_option("FILE", files, "the files, as `skein divergent list` names them");
  command->add_flag("--all", all, "all of them")->excludes(named);
}

absl::StatusOr<std::vector<DivergentTail::File>> ChooseTails(const TailChoice& choice) {
  auto files = DivergentTail::List(choice.data_directory);
  if (!files.ok() || choice.all) return files;
  if (choice.files.empty()) {
    return absl::InvalidArgumentError(
        "name files, as `skein divergent list` shows them, or say --all");
  }
  for (const std::string& wanted : choice.files) {
    if (std::ranges::none_of(*files, [&](const auto& file) { return NameOf(file) == wanted; })) {
      return absl::InvalidArgumentError(
          fmt::format("{}/divergent has no {}; see `skein divergent list --data-dir {}`",
                      choice.data_directory, wanted, choice.data_directory));
    }
  }
  std::erase_if(*files, [&](const DivergentTail::File& file) {
    return std::ranges::find(choice.files, NameOf(file)) == choice.files.end();
  });
  return files;
}

std::string NameOf(const DivergentTail::File& file) {
  return std::filesystem::path(file.path).filename().string();
}

const char* OperationName(const TailCommand& command) { return command.put ? "put" : "delete"; }

absl::Status VisitCommands(const DivergentTail& tail,
                           const std::function<void(const TailCommand&)>& visit) {
  for (const EntryPtr& entry : tail.entries()) {
    if (entry->type() != EntryType::kCommands) continue;
    Decoder decoder(entry->payload());
    Revision revision = entry->first_revision();
    for (; !decoder.empty(); revision = revision.Next()) {
      CommandView command;
      if (!NextCommand(&decoder, &command)) {
        return absl::DataLossError(
            fmt::format("entry {} holds a malformed command", entry->index().value()));
      }
      visit({.revision = revision.value(),
             .put = command.type == CommandType::kPut,
             .key = command.key,
             .value = command.value});
    }
  }
  return absl::OkStatus();
}

void AddDivergent(CLI::App* app, Globals* globals) {
  CLI::App* divergent = app->add_subcommand(
      "divergent", "Writes that a former leader took and the cluster went on without");
  divergent->require_subcommand(1);
  auto directory = std::make_shared<std::string>();
  CLI::App* list = divergent->add_subcommand("list", "What was cut off from the log of a node");
  AddDataDirectory(list, directory.get());
  list->footer("Example:\n  skein divergent list --data-dir /var/lib/skein");
  list->callback([=] { globals->run = [=] { return RunList(*globals, *directory); }; });
  auto choice = std::make_shared<TailChoice>();
  CLI::App* show =
      divergent->add_subcommand("show", "Their commands: revision, operation, key and value");
  choice->AddTo(show);
  show->footer(
      "With --output json, each command is one JSON object in a line of its own.\n"
      "Example:\n  skein divergent show --data-dir /var/lib/skein --all");
  show->callback([=] { globals->run = [=] { return RunShow(*globals, *choice); }; });
  AddDivergentReplay(divergent, globals);
  divergent->footer(
      "Nobody was told that these writes succeeded. The node may be running.\n"
      "Examples:\n"
      "  skein divergent list --data-dir /var/lib/skein\n"
      "  skein divergent show --data-dir /var/lib/skein --all\n"
      "  skein divergent replay --data-dir /var/lib/skein --all --dry-run");
}

}  // namespace skein::cli
