#include "server/node_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace skein {
namespace {

absl::Status CheckAddress(const std::string& what, const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string::npos && colon > 0) {
    const char* end = address.data() + address.size();
    const auto [rest, error] = std::from_chars(address.data() + colon + 1, end, port);
    if (error != std::errc() || rest != end) port = -1;
  }
  if (port >= 1 && port <= 65535) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "{} '{}' is not of the form HOST:PORT with a port from 1 to 65535", what, address));
}

absl::Status CheckName(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 64 &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("node name '{}' must have 1 to 64 letters, digits, '-', '_' or '.'", name));
}

}  // namespace

absl::Status ParseCluster(const std::string& text,
                          std::vector<std::pair<std::string, std::string>>* cluster) {
  cluster->clear();
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const size_t equals = item.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' in --initial-cluster is not of the form NAME=HOST:PORT", item));
    }
    cluster->emplace_back(item.substr(0, equals), item.substr(equals + 1));
    begin = end + 1;
  }
  return absl::OkStatus();
}

absl::Status NodeOptions::Validate() const {
  absl::Status status = CheckName(name);
  if (!status.ok()) return status;
  if (data_directory.empty()) return absl::InvalidArgumentError("--data-dir is missing");
  status = CheckAddress("--listen", listen);
  if (!status.ok()) return status;
  if (!advertise.empty() && !(status = CheckAddress("--advertise", advertise)).ok()) return status;
  std::set<std::string> names;
  std::set<std::string> addresses;
  for (const auto& [member, address] : initial_cluster) {
    if (!(status = CheckName(member)).ok()) return status;
    if (!(status = CheckAddress("address of " + member, address)).ok()) return status;
    if (!names.insert(member).second) {
      return absl::InvalidArgumentError("--initial-cluster names " + member + " twice");
    }
    if (!addresses.insert(address).second) {
      return absl::InvalidArgumentError("--initial-cluster has the address " + address + " twice");
    }
  }
  if (names.count(name) == 0) {
    return absl::InvalidArgumentError(fmt::format(
        "this node, {}, is not in --initial-cluster; add {}=HOST:PORT to it", name, name));
  }
  if (cluster_token.empty()) return absl::InvalidArgumentError("--cluster-token is empty");
  if (limits.key_bytes_max == 0 || limits.key_bytes_max > (1 << 20)) {
    return absl::InvalidArgumentError("--key-bytes-max must be from 1 to 1048576");
  }
  // A value travels between the nodes in one message, with its key, of at most 64 MiB.
  if (limits.value_bytes_max > (48 << 20)) {
    return absl::InvalidArgumentError("--value-bytes-max must be at most 50331648");
  }
  return replica.core.Validate();
}

}  // namespace skein
