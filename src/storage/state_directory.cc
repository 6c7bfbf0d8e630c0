#include "storage/state_directory.h"

#include <charconv>
#include <map>
#include <string_view>
#include <vector>

#include "storage/env_file.h"

namespace skein {
namespace {

constexpr std::string_view kName = "state";

// Number and name of each directory that holds or held a state; `state` itself has 0.
absl::StatusOr<std::map<uint64_t, std::string>> StateNames(rocksdb::Env* env,
                                                           const std::string& data_directory) {
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(env, data_directory);
  if (!names.ok()) return names.status();
  std::map<uint64_t, std::string> found;
  for (const std::string& name : *names) {
    if (name == kName) found[0] = name;
    if (!name.starts_with(std::string(kName) + ".")) continue;
    uint64_t number = 0;
    const char* const last = name.data() + name.size();
    const auto [end, error] = std::from_chars(name.data() + kName.size() + 1, last, number);
    if (error == std::errc() && end == last && number > 0) found[number] = name;
  }
  return found;
}

}  // namespace

absl::StatusOr<std::string> SettleStateDirectory(rocksdb::Env* env,
                                                 const std::string& data_directory, Trash* trash) {
  const absl::StatusOr<std::map<uint64_t, std::string>> names = StateNames(env, data_directory);
  if (!names.ok()) return names.status();
  const std::string state = data_directory + "/" + std::string(kName);
  if (names->empty() || names->rbegin()->first == 0) return state;
  const std::string newest = names->rbegin()->second;
  for (const auto& [number, name] : *names) {
    if (name == newest) continue;
    const absl::Status discarded = trash->Discard(data_directory + "/" + name);
    if (!discarded.ok()) return discarded;
  }
  const absl::Status renamed = Rename(env, data_directory + "/" + newest, state);
  if (!renamed.ok()) return renamed;
  return state;
}

absl::StatusOr<std::string> NextStateDirectory(rocksdb::Env* env,
                                               const std::string& data_directory) {
  const absl::StatusOr<std::map<uint64_t, std::string>> names = StateNames(env, data_directory);
  if (!names.ok()) return names.status();
  const uint64_t highest = names->empty() ? 0 : names->rbegin()->first;
  return data_directory + "/" + std::string(kName) + "." + std::to_string(highest + 1);
}

}  // namespace skein
