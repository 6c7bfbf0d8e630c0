#include "server/node_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace skein {
namespace {

using Cluster = std::vector<std::pair<std::string, std::string>>;

// Names and addresses are well formed, and each is there once.
absl::Status CheckCluster(const std::string& flag, const Cluster& cluster) {
  std::set<std::string> names;
  std::set<std::string> addresses;
  for (const auto& [member, address] : cluster) {
    absl::Status status = CheckNodeName(member);
    if (status.ok()) status = CheckNodeAddress("address of " + member, address);
    if (!status.ok()) return status;
    if (!names.insert(member).second) {
      return absl::InvalidArgumentError(fmt::format("{} names {} twice", flag, member));
    }
    if (!addresses.insert(address).second) {
      return absl::InvalidArgumentError(fmt::format("{} has the address {} twice", flag, address));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckNodeAddress(const std::string& what, const std::string& address) {
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

absl::Status CheckNodeName(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 64 &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("node name '{}' must have 1 to 64 letters, digits, '-', '_' or '.'", name));
}

bool IsReachedAt(const NodeOptions& options, const std::string& address) {
  if (!options.advertise.empty()) return options.advertise == address;
  const size_t colon = options.listen.rfind(':');
  const std::string host = options.listen.substr(0, colon);
  if (host != "0.0.0.0" && host != "[::]") return options.listen == address;
  return address.ends_with(options.listen.substr(colon));
}

std::vector<std::string> ParseAddresses(const std::string& text) {
  std::vector<std::string> addresses;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    addresses.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return addresses;
}

absl::Status ParseCluster(const std::string& flag, const std::string& text, Cluster* cluster) {
  cluster->clear();
  for (const std::string& item : ParseAddresses(text)) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' in {} is not of the form NAME=HOST:PORT", item, flag));
    }
    cluster->emplace_back(item.substr(0, equals), item.substr(equals + 1));
  }
  return absl::OkStatus();
}

absl::Status NodeOptions::Validate() const {
  absl::Status status = CheckNodeName(name);
  if (!status.ok()) return status;
  if (data_directory.empty()) return absl::InvalidArgumentError("--data-dir is missing");
  status = CheckNodeAddress("--listen", listen);
  if (!status.ok()) return status;
  if (!advertise.empty()) status = CheckNodeAddress("--advertise", advertise);
  if (status.ok()) status = CheckCluster("--initial-cluster", initial_cluster);
  if (status.ok()) status = CheckCluster("--peer-addresses", peer_addresses);
  for (const std::string& address : join) {
    if (status.ok()) status = CheckNodeAddress("--join", address);
  }
  if (!status.ok()) return status;
  if (!initial_cluster.empty() && !join.empty()) {
    return absl::InvalidArgumentError(
        "--initial-cluster founds a cluster and --join joins one that there is: give one of them");
  }
  const bool names_self = std::any_of(initial_cluster.begin(), initial_cluster.end(),
                                      [this](const auto& member) { return member.first == name; });
  if (!initial_cluster.empty() && !names_self) {
    return absl::InvalidArgumentError(fmt::format(
        "this node, {}, is not in --initial-cluster; add {}=HOST:PORT to it", name, name));
  }
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
