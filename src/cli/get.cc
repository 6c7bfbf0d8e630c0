#include <fmt/format.h>

#include <cstdio>

#include "cli/command.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct GetFlags {
  std::string key;
  ReadFlags read;
};

// The exact bytes; on a terminal the prompt gets a line of its own.
int PrintValue(const Globals& globals, const std::string& value) {
  const std::string text = EncodeBytes(globals.encoding(), value);
  bool ok = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (OutputIsTerminal() || globals.encoding() != Encoding::kRaw) {
    ok = std::fputc('\n', stdout) != EOF && ok;
  }
  if (std::fflush(stdout) == 0 && ok) return kExitDone;
  fmt::print(stderr, "skein: cannot write to standard output\n");
  return kExitFailed;
}

int RunGet(const Globals& globals, const GetFlags& flags) {
  const auto key = DecodeArgument(globals.encoding(), flags.key);
  if (!key.ok()) return FailUsage("KEY: " + MessageOf(key.status()));
  const auto got = globals.Connect()->Get(*key, flags.read.Options(globals));
  if (!got.ok()) return Fail(globals, "get", got.status());
  if (globals.output == Output::kJson) {
    nlohmann::ordered_json json;
    SetBytes(&json, "key", *key);
    json["found"] = got->has_value();
    if (got->has_value()) {
      SetBytes(&json, "value", (*got)->value);
      json["version"] = (*got)->version;
    }
    json["node"] = got->by.node_id;
    json["revision"] = got->by.applied_revision;
    PrintJson(json);
    return got->has_value() ? kExitDone : kExitNotFound;
  }
  if (!got->has_value()) {
    fmt::print(stderr, "skein: key not found: {}\n", Printable(globals.encoding(), *key));
    return kExitNotFound;
  }
  if (globals.output == Output::kTable) {
    PrintTable({{"KEY", "VERSION", "NODE", "VALUE"},
                {Printable(globals.encoding(), *key), std::to_string((*got)->version),
                 got->by.node_id, Printable(globals.encoding(), (*got)->value)}});
    return kExitDone;
  }
  return PrintValue(globals, (*got)->value);
}

}  // namespace

void AddGet(CLI::App* app, Globals* globals) {
  auto flags = std::make_shared<GetFlags>();
  CLI::App* command =
      app->add_subcommand("get", "Print the value of a key; exit code 3 if it does not exist");
  command->add_option("KEY", flags->key, "the key")->required();
  flags->read.AddTo(command);
  command->footer(
      "Examples:\n"
      "  skein get user:1\n"
      "  skein get photo > cat.jpg\n"
      "  skein get user:1 --consistency linearizable --output json");
  command->callback([=] { globals->run = [=] { return RunGet(*globals, *flags); }; });
}

}  // namespace skein::cli
