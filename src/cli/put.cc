#include <fmt/format.h>

#include "cli/command.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct PutFlags {
  std::string key;
  std::string value;
  bool literal = false;
  WriteFlags write;
};

int RunPut(const Globals& globals, const PutFlags& flags) {
  const auto key = DecodeArgument(globals.encoding(), flags.key);
  if (!key.ok()) return FailUsage("KEY: " + MessageOf(key.status()));
  const auto value = flags.literal ? DecodeArgument(globals.encoding(), flags.value)
                                   : ReadValue(globals.encoding(), flags.value);
  if (!value.ok()) return FailUsage("VALUE: " + MessageOf(value.status()));
  const auto put = globals.Connect()->Put(*key, *value, flags.write.Options(globals));
  if (!put.ok()) return Fail(globals, "put", put.status());
  switch (globals.output) {
    case Output::kJson:
      PrintJson({{"revision", put->revision}, {"reached", AckName(put->reached)}});
      break;
    case Output::kTable:
      PrintTable({{"REVISION", "REACHED"}, {std::to_string(put->revision), AckName(put->reached)}});
      break;
    case Output::kDefault:
    case Output::kPlain:
      fmt::print("{}\n", put->revision);
  }
  return kExitDone;
}

}  // namespace

void AddPut(CLI::App* app, Globals* globals) {
  auto flags = std::make_shared<PutFlags>();
  CLI::App* command = app->add_subcommand("put", "Write a key; prints the revision of the write");
  command->add_option("KEY", flags->key, "the key")->required();
  command
      ->add_option("VALUE", flags->value,
                   "the value, @FILE for a file's bytes, or - for standard input")
      ->required();
  command->add_flag("--literal", flags->literal,
                    "take VALUE as it is, even if it is - or begins with @");
  flags->write.AddTo(command);
  command->footer(
      "Examples:\n"
      "  skein put user:1 Ada\n"
      "  skein put photo @cat.jpg --ack all\n"
      "  date | skein put now -");
  command->callback([=] { globals->run = [=] { return RunPut(*globals, *flags); }; });
}

}  // namespace skein::cli
