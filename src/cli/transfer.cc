#include <fmt/format.h>

#include "cli/command.h"
#include "cli/member.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

int RunTransfer(const Globals& globals, const std::string& target) {
  const auto transfer = globals.Connect()->TransferLeadership(target, globals.Timeout());
  if (absl::IsAlreadyExists(transfer.status())) {
    fmt::print(stderr, "skein: {} leads already\n", target);
    if (globals.output == Output::kJson) PrintJson({{"leader", target}, {"pause_us", 0}});
    return kExitDone;
  }
  if (!transfer.ok()) {
    return FailChange(globals, "transfer", transfer.status(), "skein status");
  }
  const double pause_ms = static_cast<double>(transfer->pause_us) / 1000;
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson({{"leader", transfer->leader_id},
                 {"term", transfer->term},
                 {"pause_us", transfer->pause_us}});
      break;
    case Output::kPlain:
      fmt::print("{} term={} pause_ms={:.1f}\n", transfer->leader_id, transfer->term, pause_ms);
      break;
    case Output::kDefault:
    case Output::kTable:
      fmt::print("{} leads now; writes paused for {:.1f} ms\n", transfer->leader_id, pause_ms);
  }
  return kExitDone;
}

}  // namespace

void AddTransfer(CLI::App* app, Globals* globals) {
  auto target = std::make_shared<std::string>();
  CLI::App* command =
      app->add_subcommand("transfer", "Hand leadership over; prints how long writes paused for it");
  command->add_option("NODE", *target, "the new leader [default: the most advanced voter]");
  command->footer("Examples:\n  skein transfer\n  skein transfer n2");
  command->callback([=] { globals->run = [=] { return RunTransfer(*globals, *target); }; });
}

}  // namespace skein::cli
