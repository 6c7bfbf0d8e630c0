#include "replication/core/entry.h"

#include <string>

#include "common/checksum.h"
#include "common/coding.h"

namespace skein {
namespace {

constexpr uint8_t kFormat = 1;
// checksum 8, chain 8, then what the checksum covers: format 1, type 1, reserved 2, count 4, term
// 8, index 8, first revision 8, cluster time 8, payload.
constexpr size_t kChecksummedFrom = 16;

}  // namespace

EntryPtr Entry::Build(const LogPoint& previous, Term term, EntryType type, uint32_t command_count,
                      uint64_t cluster_time_ms, std::string_view payload) {
  std::shared_ptr<Entry> entry(new Entry);
  entry->term_ = term;
  entry->index_ = previous.at.index.Next();
  entry->type_ = type;
  entry->command_count_ = command_count;
  entry->first_revision_ = previous.revision.Next();
  entry->cluster_time_ms_ = cluster_time_ms;
  std::string& frame = entry->frame_;
  frame.reserve(kHeaderBytes + payload.size());
  frame.append(kChecksummedFrom, '\0');
  PutFixed8(&frame, kFormat);
  PutFixed8(&frame, static_cast<uint8_t>(type));
  frame.append(2, '\0');
  PutFixed32(&frame, command_count);
  PutFixed64(&frame, term.value());
  PutFixed64(&frame, entry->index_.value());
  PutFixed64(&frame, entry->first_revision_.value());
  PutFixed64(&frame, cluster_time_ms);
  frame.append(payload.data(), payload.size());
  entry->checksum_ = Checksum64(std::string_view(frame).substr(kChecksummedFrom));
  entry->chain_ = ChainHash(previous.chain, entry->checksum_);
  std::memcpy(frame.data(), &entry->checksum_, 8);
  std::memcpy(frame.data() + 8, &entry->chain_, 8);
  return entry;
}

absl::StatusOr<EntryPtr> Entry::Parse(std::string frame) {
  if (frame.size() < kHeaderBytes) {
    return absl::DataLossError("log entry is cut: " + std::to_string(frame.size()) + " bytes");
  }
  std::shared_ptr<Entry> entry(new Entry);
  entry->frame_ = std::move(frame);
  Decoder decoder(entry->frame_);
  entry->checksum_ = decoder.Fixed64();
  entry->chain_ = decoder.Fixed64();
  const uint8_t format = decoder.Fixed8();
  entry->type_ = static_cast<EntryType>(decoder.Fixed8());
  decoder.Fixed8();
  decoder.Fixed8();
  entry->command_count_ = decoder.Fixed32();
  entry->term_ = Term(decoder.Fixed64());
  entry->index_ = Index(decoder.Fixed64());
  entry->first_revision_ = Revision(decoder.Fixed64());
  entry->cluster_time_ms_ = decoder.Fixed64();
  const std::string name = "log entry " + std::to_string(entry->index_.value());
  if (Checksum64(std::string_view(entry->frame_).substr(kChecksummedFrom)) != entry->checksum_) {
    return absl::DataLossError(name + ": checksum does not match");
  }
  if (format != kFormat) {
    return absl::DataLossError(name + " has format " + std::to_string(format) +
                               ", this program reads format " + std::to_string(kFormat));
  }
  if (entry->type_ < EntryType::kNoOp || entry->type_ > EntryType::kMembership) {
    return absl::DataLossError(name + " is of a type that this program does not know");
  }
  return entry;
}

bool Entry::Follows(const LogPoint& previous) const {
  return index_ == previous.at.index.Next() && first_revision_ == previous.revision.Next() &&
         term_ >= previous.at.term && chain_ == ChainHash(previous.chain, checksum_);
}

size_t TotalBytes(const std::vector<EntryPtr>& entries) {
  size_t bytes = 0;
  for (const EntryPtr& entry : entries) bytes += entry->bytes();
  return bytes;
}

}  // namespace skein
