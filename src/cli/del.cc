#include <fmt/format.h>

#include "cli/command.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct DelFlags {
  std::string key;
  WriteFlags write;
};

int RunDel(const Globals& globals, const DelFlags& flags) {
  const auto key = DecodeArgument(globals.encoding(), flags.key);
  if (!key.ok()) return FailUsage("KEY: " + MessageOf(key.status()));
  const auto result = globals.Connect()->Delete(*key, flags.write.Options(globals));
  if (!result.ok()) return Fail(globals, "del", result.status());
  switch (globals.output) {
    case Output::kJson:
      PrintJson({{"revision", result->revision},
                 {"deleted", result->deleted},
                 {"reached", AckName(result->reached)}});
      break;
    case Output::kTable:
      PrintTable({{"REVISION", "DELETED", "REACHED"},
                  {std::to_string(result->revision), result->deleted ? "yes" : "no",
                   AckName(result->reached)}});
      break;
    case Output::kDefault:
    case Output::kPlain:
      fmt::print("{}\n", result->revision);
  }
  if (result->deleted) return kExitDone;
  if (globals.output != Output::kJson) {
    fmt::print(stderr, "skein: key not found: {}\n", Printable(globals.encoding(), *key));
  }
  return kExitNotFound;
}

}  // namespace

void AddDel(CLI::App* app, Globals* globals) {
  auto flags = std::make_shared<DelFlags>();
  CLI::App* command = app->add_subcommand("del", "Delete a key; exit code 3 if it did not exist");
  command->add_option("KEY", flags->key, "the key")->required();
  flags->write.AddTo(command);
  command->footer("Example:\n  skein del user:1");
  command->callback([=] { globals->run = [=] { return RunDel(*globals, *flags); }; });
}

}  // namespace skein::cli
