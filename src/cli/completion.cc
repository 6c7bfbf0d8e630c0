#include <fmt/format.h>

#include "cli/command.h"

namespace skein::cli {
namespace {

std::string OptionNames(const CLI::App& app) {
  std::string names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names += " --" + name;
  }
  return names;
}

// Single quotes within single quotes, for all three shells alike.
std::string Quoted(const std::string& text) {
  std::string quoted;
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + quoted + "'";
}

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

void PrintBash(const CLI::App& app) {
  std::string names;
  std::string cases;
  for (const CLI::App* command : Commands(app)) {
    names += " " + command->get_name();
    cases += fmt::format("      {}) words=\"{}\" ;;\n", command->get_name(), OptionNames(*command));
  }
  fmt::print(
      "_skein() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" command=\"\" words=\"\" i\n"
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
      "    case \"${{COMP_WORDS[i]}}\" in\n"
      "      {}) command=\"${{COMP_WORDS[i]}}\"; break ;;\n"
      "    esac\n"
      "  done\n"
      "  if [ -z \"$command\" ]; then\n"
      "    words=\"{}{}\"\n"
      "  else\n"
      "    case \"$command\" in\n{}"
      "    esac\n"
      "    words=\"$words{}\"\n"
      "  fi\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "}}\n"
      "complete -o default -F _skein skein\n",
      [&] {
        std::string alternatives = names.substr(1);
        for (char& c : alternatives) c = c == ' ' ? '|' : c;
        return alternatives;
      }(),
      names, OptionNames(app), cases, OptionNames(app));
}

void PrintFish(const CLI::App& app) {
  for (const CLI::App* command : Commands(app)) {
    fmt::print("complete -c skein -n __fish_use_subcommand -a {} -d {}\n", command->get_name(),
               Quoted(command->get_description()));
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        fmt::print("complete -c skein -n '__fish_seen_subcommand_from {}' -l {} -d {}\n",
                   command->get_name(), name, Quoted(option->get_description()));
      }
    }
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      fmt::print("complete -c skein -l {} -d {}\n", name, Quoted(option->get_description()));
    }
  }
}

int RunCompletion(const CLI::App& app, const std::string& shell) {
  if (shell == "fish") {
    PrintFish(app);
    return kExitDone;
  }
  if (shell == "zsh") fmt::print("autoload -U +X bashcompinit && bashcompinit\n");
  PrintBash(app);
  return kExitDone;
}

}  // namespace

void AddCompletion(CLI::App* app, Globals* globals) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app->add_subcommand("completion", "Print a script for tab completion");
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(
      "Examples:\n"
      "  source <(skein completion bash)\n"
      "  skein completion fish > ~/.config/fish/completions/skein.fish");
  command->callback([=] { globals->run = [=] { return RunCompletion(*app, *shell); }; });
}

}  // namespace skein::cli
