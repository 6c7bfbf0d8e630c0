#include "storage/snapshot_manifest.h"

#include <algorithm>
#include <limits>

#include "storage/record.h"

namespace skein {
namespace {

// RocksDB's file names and our ids: letters, digits, and what stands between them.
bool IsPlainName(std::string_view name) {
  if (name.empty() || name.size() > 100 || name.front() == '.') return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_';
  });
}

bool Decode(std::string_view payload, SnapshotManifest* manifest) {
  Decoder decoder(payload);
  manifest->id = decoder.Bytes();
  manifest->base.point = TakeLogPoint(&decoder);
  const std::string_view membership = decoder.Bytes();
  manifest->cluster_time_ms = decoder.Fixed64();
  const uint64_t count = decoder.Varint();
  uint64_t room = std::numeric_limits<int64_t>::max();
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    SnapshotFile file{.name = std::string(decoder.Bytes())};
    file.bytes = decoder.Fixed64();
    const bool follows = manifest->files.empty() || manifest->files.back().name < file.name;
    if (!IsPlainName(file.name) || !follows || file.bytes > room) return false;
    room -= file.bytes;
    manifest->files.push_back(std::move(file));
  }
  return decoder.ok() && decoder.empty() && IsPlainName(manifest->id) &&
         manifest->base.point.at.index > Index(0) &&
         DecodeMembership(membership, &manifest->base.membership);
}

}  // namespace

uint64_t SnapshotManifest::TotalBytes() const {
  uint64_t bytes = 0;
  for (const SnapshotFile& file : files) bytes += file.bytes;
  return bytes;
}

std::string EncodeSnapshotManifest(const SnapshotManifest& manifest) {
  std::string payload;
  PutBytes(&payload, manifest.id);
  PutLogPoint(&payload, manifest.base.point);
  PutBytes(&payload, EncodeMembership(manifest.base.membership));
  PutFixed64(&payload, manifest.cluster_time_ms);
  PutVarint(&payload, manifest.files.size());
  for (const SnapshotFile& file : manifest.files) {
    PutBytes(&payload, file.name);
    PutFixed64(&payload, file.bytes);
  }
  return SealRecord(payload);
}

absl::StatusOr<SnapshotManifest> DecodeSnapshotManifest(std::string_view bytes) {
  const std::optional<std::string_view> payload = OpenRecord(bytes);
  SnapshotManifest manifest;
  if (!payload.has_value() || !Decode(*payload, &manifest)) {
    return absl::DataLossError("the manifest of the snapshot is damaged");
  }
  return manifest;
}

}  // namespace skein
