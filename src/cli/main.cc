// skein: the command line. Exit codes: 0 done, 1 failed or unavailable, 2 wrong usage, 3 key not
// found, condition not met, or a change of the members refused.
#include <fmt/format.h>
#include <signal.h>

#include <map>

#include "cli/command.h"

namespace skein::cli {
namespace {

void AddGlobals(CLI::App* app, Globals* globals) {
  const std::map<std::string, Output> outputs = {
      {"table", Output::kTable}, {"json", Output::kJson}, {"plain", Output::kPlain}};
  app->add_option("--endpoints", globals->endpoints,
                  "HOST:PORT of some nodes, separated by commas; one is enough")
      ->envname("SKEIN_ENDPOINTS")
      ->capture_default_str()
      ->check([](const std::string& text) {
        Globals parsed;
        parsed.endpoints = text;
        for (const std::string& endpoint : parsed.EndpointList()) {
          const std::string wrong = CheckAddress(endpoint);
          if (!wrong.empty()) return wrong;
        }
        return parsed.EndpointList().empty() ? std::string("names no node") : std::string();
      });
  app->add_option_function<std::string>(
         "--output",
         [globals, outputs](const std::string& name) { globals->output = outputs.at(name); },
         "table, json or plain; by default tables on a terminal, plain lines in a pipe")
      ->check(CLI::IsMember({"table", "json", "plain"}));
  app->add_option("--timeout", globals->timeout_seconds, "seconds that a call may take")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86400.0));
  auto* hex = app->add_flag("--hex", globals->hex, "keys and values are given and shown in hex");
  app->add_flag("--base64", globals->base64, "keys and values are given and shown in base64")
      ->excludes(hex);
}

// `skein member add`: as far as it was understood.
std::string CommandOf(const CLI::App& app) {
  const std::vector<CLI::App*> named = app.get_subcommands();
  return named.empty() ? app.get_name() : app.get_name() + " " + CommandOf(*named.front());
}

int Main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed write
  Globals globals;
  CLI::App app("Reads and writes a Skein cluster.", "skein");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "skein " SKEIN_VERSION);
  app.footer(
      "Exit codes: 0 done, 1 failed or unavailable, 2 wrong usage, 3 key not found or change "
      "refused.\n"
      "Examples:\n"
      "  skein put user:1 Ada\n"
      "  skein get user:1\n"
      "  skein status");
  AddGlobals(&app, &globals);
  AddPut(&app, &globals);
  AddGet(&app, &globals);
  AddDel(&app, &globals);
  AddScan(&app, &globals);
  AddStatus(&app, &globals);
  AddLag(&app, &globals);
  AddMember(&app, &globals);
  AddTransfer(&app, &globals);
  AddDivergent(&app, &globals);
  AddCluster(&app, &globals);
  AddBench(&app, &globals);
  AddCompletion(&app, &globals);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> rest = app.remaining();
    const bool unknown = app.get_subcommands().empty() && !rest.empty();
    fmt::print(stderr, "skein: {} (see {} --help)\n",
               unknown
                   ? fmt::format("there is no {} '{}'",
                                 rest.front().starts_with('-') ? "flag" : "command", rest.front())
                   : error.what(),
               CommandOf(app));
    return kExitUsage;
  }
  const int code = globals.run();
  if (std::fflush(stdout) != 0 && code == kExitDone) return kExitFailed;
  return code;
}

}  // namespace
}  // namespace skein::cli

int main(int argc, char** argv) { return skein::cli::Main(argc, argv); }
