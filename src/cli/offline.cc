#include "cli/offline.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/command.h"
#include "common/error.h"

namespace skein::cli {

void AddDataDirectory(CLI::App* command, std::string* path) {
  command->add_option("--data-dir", *path, "the data directory of the node")
      ->required()
      ->check(CLI::ExistingDirectory);
}

int FailOffline(const std::string& what, const absl::Status& status) {
  const bool refused = absl::IsFailedPrecondition(status);
  fmt::print(stderr, "skein: {} {}: {}\n", what, refused ? "refused" : "failed", MessageOf(status));
  const std::string hint = DetailOf(status).hint;
  if (!hint.empty()) fmt::print(stderr, "  what to do: {}\n", hint);
  return refused ? kExitNotFound : kExitFailed;
}

std::string CheckOwner(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0 || info.st_uid == ::geteuid()) return "";
  const passwd* owner = ::getpwuid(info.st_uid);
  const std::string name = owner != nullptr ? owner->pw_name : std::to_string(info.st_uid);
  return fmt::format(
      "{} belongs to the user {}: run this as that user, or skeind could not read "
      "what is written",
      path, name);
}

}  // namespace skein::cli
