#include "storage/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>

#include "common/checksum.h"
#include "common/error.h"
#include "common/random.h"
#include "fmt/format.h"
#include "replication/core/membership.h"
#include "storage/damage.h"
#include "storage/file_util.h"
#include "storage/text_record.h"

namespace skein {
namespace {

constexpr uint64_t kDirectoryFormat = 1;
constexpr char kRecovery[] = "recovery";

absl::Status Refused(const std::string& message) {
  return absl::Status(absl::StatusCode::kFailedPrecondition, message);
}

// Opens and locks `<path>/lock`, writes this process's id into it. Returns the descriptor.
absl::StatusOr<int> Lock(const std::string& path) {
  const std::string file = path + "/lock";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus("data directory is not writable: cannot open", file, errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(fd);
    if (error != EWOULDBLOCK) return ErrnoStatus("cannot lock", file, error);
    const absl::StatusOr<std::string> holder = ReadFile(file);
    return Refused(fmt::format("data directory {} is in use by process {}", path,
                               holder.ok() && !holder->empty() ? *holder : "unknown"));
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    const int error = errno;
    ::close(fd);
    return ErrnoStatus("cannot write", file, error);
  }
  return fd;
}

bool IsPlainText(const std::string& text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return !text.empty();
}

// The format number that an identity claims, valid or not; 0 if it names none.
uint64_t ClaimedFormat(std::string_view text) {
  constexpr std::string_view kStart = "format ";
  uint64_t format = 0;
  if (text.substr(0, kStart.size()) == kStart) {
    std::from_chars(text.data() + kStart.size(), text.data() + text.size(), format);
  }
  return format;
}

}  // namespace

uint64_t ClusterIdOf(const std::string& cluster_token, uint64_t history) {
  const uint64_t id = Checksum64("skein cluster " + cluster_token);
  return (id == 0 ? 1 : id) ^ history;
}

uint64_t NewHistoryOf(const std::string& cluster_token) {
  uint64_t history = 0;
  while (history == 0 || ClusterIdOf(cluster_token, history) == 0) {
    history = Random::SeedFromSystem();
  }
  return history;
}

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::LockAndClean(
    const std::string& path) {
  const absl::StatusOr<int> lock_fd = Lock(path);
  if (!lock_fd.ok()) return lock_fd.status();
  std::unique_ptr<DataDirectory> directory(new DataDirectory(path, *lock_fd));
  const absl::Status cleaned = directory->RemoveLeftovers();
  if (!cleaned.ok()) return cleaned;
  return directory;
}

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::OpenExisting(
    const std::string& path) {
  absl::StatusOr<std::optional<Identity>> found = Peek(path);
  if (!found.ok()) return found.status();
  if (!found->has_value()) {
    return Refused(
        fmt::format("{} is not a data directory of skeind: it has no file identity", path));
  }
  auto directory = LockAndClean(path);
  if (!directory.ok()) return directory.status();
  found = Peek(path);  // as it is now that nobody else may change it
  if (!found.ok()) return found.status();
  (*directory)->identity_ = found->value_or(Identity{});
  const absl::Status peers = (*directory)->LoadPeers();
  if (!peers.ok()) return peers;
  return directory;
}

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(const std::string& path,
                                                                   const std::string& cluster_token,
                                                                   const std::string& node_name,
                                                                   uint64_t history) {
  if (!IsPlainText(cluster_token) || !IsPlainText(node_name)) {
    return absl::Status(
        absl::StatusCode::kInvalidArgument,
        "cluster token and node name must be non-empty and without control characters");
  }
  absl::Status status = MakeDirectory(path);
  if (absl::IsResourceExhausted(status)) return status;
  if (!status.ok()) return Refused(MessageOf(status));  // nothing can be made at this path
  auto directory = LockAndClean(path);
  if (!directory.ok()) return directory.status();
  status = (*directory)->LoadIdentity(cluster_token, node_name, history);
  if (status.ok()) status = (*directory)->LoadPeers();
  if (!status.ok()) return status;
  return directory;
}

DataDirectory::~DataDirectory() { ::close(lock_fd_); }

absl::Status DataDirectory::RemoveLeftovers() const {
  std::error_code error;
  std::vector<std::filesystem::path> leftovers;
  for (const auto& file : std::filesystem::directory_iterator(path_, error)) {
    if (file.path().extension() == kTemporarySuffix) leftovers.push_back(file.path());
  }
  for (const auto& leftover : leftovers) {
    if (!error) std::filesystem::remove_all(leftover, error);
  }
  if (!error) return absl::OkStatus();
  return ErrnoStatus("cannot clean", path_, error.value());
}

absl::StatusOr<std::optional<Identity>> DataDirectory::Peek(const std::string& path) {
  const std::string file = path + "/identity";
  if (!FileExists(file)) return std::nullopt;
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (!text.ok()) return text.status();
  const uint64_t format = ClaimedFormat(*text);
  if (format > kDirectoryFormat) {
    return Refused(
        fmt::format("data directory {} has format {}, this program reads up to format {}:"
                    " it was written by a newer version",
                    path, format, kDirectoryFormat));
  }
  const std::optional<TextFields> fields = DecodeTextRecord(*text);
  if (!fields.has_value()) return DamagedData(file + " is damaged");
  const std::optional<uint64_t> cluster_id = FromHex(FieldValue(*fields, "cluster_id"));
  const std::optional<uint64_t> node_id = FromHex(FieldValue(*fields, "node_id"));
  const std::optional<uint64_t> incarnation = FromHex(FieldValue(*fields, "incarnation"));
  const std::string history_text = FieldValue(*fields, "history");
  const std::optional<uint64_t> history = FromHex(history_text.empty() ? "0" : history_text);
  if (!cluster_id.has_value() || !node_id.has_value() || !incarnation.has_value() ||
      !history.has_value()) {
    return DamagedData(file + " is damaged");
  }
  return Identity{.cluster_id = *cluster_id,
                  .cluster_token = FieldValue(*fields, "cluster_token"),
                  .history = *history,
                  .node_id = NodeId(*node_id),
                  .node_name = FieldValue(*fields, "node_name"),
                  .incarnation = *incarnation,
                  .recovery_unfinished = !FieldValue(*fields, kRecovery).empty()};
}

absl::Status DataDirectory::LoadIdentity(const std::string& cluster_token,
                                         const std::string& node_name, uint64_t history) {
  absl::StatusOr<std::optional<Identity>> found = Peek(path_);
  if (!found.ok()) return found.status();
  if (!found->has_value()) return CreateIdentity(cluster_token, node_name, history);
  identity_ = *std::move(*found);
  if (identity_.node_name != node_name) {
    return Refused(fmt::format("data directory {} belongs to node {}, not to node {}", path_,
                               identity_.node_name, node_name));
  }
  if (identity_.cluster_token != cluster_token) {
    return Refused(fmt::format("data directory {} belongs to cluster {}, not to cluster {}", path_,
                               identity_.cluster_token, cluster_token));
  }
  if (identity_.recovery_unfinished) {
    return Refused(fmt::format(
        "the recovery of the cluster from data directory {} was begun and not finished: run skein "
        "cluster recover --force-new-quorum --data-dir {} again",
        path_, path_));
  }
  return absl::OkStatus();
}

// The identity is the first thing in a new directory: data without it has lost its owner.
absl::Status DataDirectory::CreateIdentity(const std::string& cluster_token,
                                           const std::string& node_name, uint64_t history) {
  for (const char* name : {"log", "state", "acknowledged", "peers"}) {
    if (FileExists(path_ + "/" + name)) {
      return DamagedData(
          fmt::format("data directory {} holds {} but has lost its file identity", path_, name));
    }
  }
  return WriteIdentity({.cluster_id = ClusterIdOf(cluster_token, history),
                        .cluster_token = cluster_token,
                        .history = history,
                        .node_id = NodeIdOf(node_name),
                        .node_name = node_name,
                        .incarnation = Random::SeedFromSystem()});
}

absl::Status DataDirectory::WriteIdentity(const Identity& identity) {
  TextFields fields = {{"format", std::to_string(kDirectoryFormat)},
                       {"cluster_id", ToHex(identity.cluster_id)},
                       {"cluster_token", identity.cluster_token},
                       {"node_id", ToHex(identity.node_id.value())},
                       {"node_name", identity.node_name},
                       {"incarnation", ToHex(identity.incarnation)}};
  if (identity.history != 0) fields.emplace_back("history", ToHex(identity.history));
  if (identity.recovery_unfinished) fields.emplace_back(kRecovery, "unfinished");
  absl::Status written = ReplaceFile(path_ + "/identity", EncodeTextRecord(fields));
  if (written.ok()) identity_ = identity;
  return written;
}

absl::Status DataDirectory::BeginHistory(uint64_t history) {
  Identity identity = identity_;
  identity.history = history;
  identity.cluster_id = ClusterIdOf(identity.cluster_token, history);
  identity.recovery_unfinished = true;
  return WriteIdentity(identity);
}

absl::Status DataDirectory::FinishHistory() {
  Identity identity = identity_;
  identity.recovery_unfinished = false;
  return WriteIdentity(identity);
}

absl::Status DataDirectory::LoadPeers() {
  const std::string file = path_ + "/peers";
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (!text.ok()) return text.status();
  const absl::Status damaged =
      DamagedData(file +
                  " is damaged; without it this node cannot tell whether the data directory "
                  "of a peer was replaced");
  const std::optional<TextFields> fields = DecodeTextRecord(*text);
  if (!fields.has_value()) return damaged;
  MutexLock lock(&mu_);
  for (const auto& [peer, incarnation] : *fields) {
    const std::optional<uint64_t> id = FromHex(peer);
    const std::optional<uint64_t> value = FromHex(incarnation);
    if (!id.has_value() || !value.has_value()) return damaged;
    peers_[NodeId(*id)] = *value;
  }
  return absl::OkStatus();
}

absl::Status DataDirectory::CheckPeer(NodeId peer, uint64_t incarnation) {
  MutexLock lock(&mu_);
  ForgetPeers();
  const auto known = peers_.find(peer);
  if (known != peers_.end()) {
    if (known->second == incarnation) return absl::OkStatus();
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        fmt::format("the data directory of node {} was replaced: it shows incarnation {}, this "
                    "cluster knows it as {}",
                    ToHex(peer.value()), ToHex(incarnation), ToHex(known->second)),
        {.reason = ErrorReason::kPeerRefused,
         .hint = "Give the node its old data directory back, or remove it from the cluster and add "
                 "it again."});
  }
  std::map<NodeId, uint64_t> peers = peers_;
  peers[peer] = incarnation;
  const absl::Status written = WritePeers(peers);
  if (written.ok()) peers_ = std::move(peers);
  return written;
}

absl::Status DataDirectory::WritePeers(const std::map<NodeId, uint64_t>& peers) {
  TextFields fields;
  for (const auto& [id, value] : peers) fields.emplace_back(ToHex(id.value()), ToHex(value));
  absl::Status written = ReplaceFile(path_ + "/peers", EncodeTextRecord(fields));
  if (written.ok()) peers_unsaved_ = false;
  return written;
}

void DataDirectory::ForgetPeersExcept(std::set<NodeId> kept) {
  MutexLock lock(&kept_mu_);
  if (kept_) {
    const std::set<NodeId>& before = *kept_;
    std::erase_if(kept, [&before](NodeId id) { return !before.contains(id); });
  }
  kept_ = std::move(kept);
}

void DataDirectory::ForgetPeers() {
  MutexLock lock(&kept_mu_);
  if (!kept_) return;
  const std::set<NodeId>& kept = *kept_;
  const size_t forgotten =
      std::erase_if(peers_, [&kept](const auto& known) { return !kept.contains(known.first); });
  if (forgotten > 0) peers_unsaved_ = true;
  kept_.reset();
}

absl::Status DataDirectory::SavePeers() {
  MutexLock lock(&mu_);
  ForgetPeers();
  return peers_unsaved_ ? WritePeers(peers_) : absl::OkStatus();
}

}  // namespace skein
