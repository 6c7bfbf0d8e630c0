#include <fmt/format.h>

#include <algorithm>

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

// A command with the words that lead to it: `member add`.
struct Path {
  std::string words;
  const CLI::App* command;
};

void CollectPaths(const CLI::App& app, const std::string& before, std::vector<Path>* paths) {
  for (const CLI::App* command : Commands(app)) {
    const std::string words = before + (before.empty() ? "" : " ") + command->get_name();
    paths->push_back({words, command});
    CollectPaths(*command, words, paths);
  }
}

std::vector<Path> Paths(const CLI::App& app) {
  std::vector<Path> paths;
  CollectPaths(app, "", &paths);
  return paths;
}

// What may follow a command: its own commands and options.
std::string Followers(const CLI::App& app) {
  std::string words;
  for (const CLI::App* command : Commands(app)) words += " " + command->get_name();
  words += OptionNames(app);
  return words.empty() ? words : words.substr(1);
}

void PrintBash(const CLI::App& app) {
  std::string alternatives;
  std::string cases;
  for (const Path& path : Paths(app)) {
    alternatives += fmt::format("{}\"{}\"", alternatives.empty() ? "" : " | ", path.words);
    cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", path.words, Followers(*path.command));
  }
  fmt::print(
      "_skein() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" path=\"\" words=\"\" next i\n"
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
      "    next=\"${{path:+$path }}${{COMP_WORDS[i]}}\"\n"
      "    case \"$next\" in\n"
      "      {}) path=\"$next\" ;;\n"
      "    esac\n"
      "  done\n"
      "  case \"$path\" in\n"
      "    \"\") words=\"{}\" ;;\n{}"
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words{}\" -- \"$current\"))\n"
      "}}\n"
      "complete -o default -F _skein skein\n",
      alternatives, Followers(app), cases, OptionNames(app));
}

// When the words of a path were typed; with `last`, none of its own commands yet.
std::string FishCondition(const Path& path, bool last) {
  std::string condition;
  size_t start = 0;
  while (start <= path.words.size()) {
    const size_t space = std::min(path.words.find(' ', start), path.words.size());
    condition += fmt::format("{}__fish_seen_subcommand_from {}", condition.empty() ? "" : "; and ",
                             path.words.substr(start, space - start));
    start = space + 1;
  }
  if (!last) return condition;
  condition += "; and not __fish_seen_subcommand_from";
  for (const CLI::App* command : Commands(*path.command)) condition += " " + command->get_name();
  return condition;
}

void PrintFish(const CLI::App& app) {
  for (const CLI::App* command : Commands(app)) {
    fmt::print("complete -c skein -n __fish_use_subcommand -a {} -d {}\n", command->get_name(),
               Quoted(command->get_description()));
  }
  for (const Path& path : Paths(app)) {
    for (const CLI::App* command : Commands(*path.command)) {
      fmt::print("complete -c skein -n '{}' -a {} -d {}\n", FishCondition(path, true),
                 command->get_name(), Quoted(command->get_description()));
    }
    for (const CLI::Option* option : path.command->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        fmt::print("complete -c skein -n '{}' -l {} -d {}\n", FishCondition(path, false), name,
                   Quoted(option->get_description()));
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
