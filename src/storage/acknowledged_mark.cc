#include "storage/acknowledged_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "common/coding.h"
#include "storage/damage.h"
#include "storage/file_util.h"
#include "storage/record.h"

namespace skein {
namespace {

// Each slot has a disk sector of its own, so that a torn write damages one of them at most.
constexpr size_t kSlotStride = 512;
constexpr size_t kFileBytes = 2 * kSlotStride;
constexpr size_t kSlotBytes = 1 + 6 * 8 + 8;

std::string EncodeSlot(uint64_t sequence, const AcknowledgedMark::Value& value) {
  std::string payload;
  PutFixed64(&payload, sequence);
  PutFixed64(&payload, value.at.term.value());
  PutFixed64(&payload, value.at.index.value());
  PutFixed64(&payload, value.chain);
  PutFixed64(&payload, value.term.value());
  PutFixed64(&payload, value.vote.value());
  return SealRecord(payload);
}

struct Slot {
  uint64_t sequence = 0;
  AcknowledgedMark::Value value;
};

std::optional<Slot> DecodeSlot(std::string_view bytes) {
  const std::optional<std::string_view> payload = OpenRecord(bytes);
  if (!payload.has_value()) return std::nullopt;
  Decoder decoder(*payload);
  Slot slot;
  slot.sequence = decoder.Fixed64();
  slot.value.at.term = Term(decoder.Fixed64());
  slot.value.at.index = Index(decoder.Fixed64());
  slot.value.chain = decoder.Fixed64();
  slot.value.term = Term(decoder.Fixed64());
  slot.value.vote = NodeId(decoder.Fixed64());
  if (!decoder.ok()) return std::nullopt;
  return slot;
}

}  // namespace

absl::Status AcknowledgedMark::Create(const std::string& path) {
  std::string content(kFileBytes, '\0');
  for (uint64_t sequence : {0, 1}) {
    content.replace(sequence * kSlotStride, kSlotBytes, EncodeSlot(sequence, Value{}));
  }
  return ReplaceFile(path, content);
}

absl::StatusOr<std::unique_ptr<AcknowledgedMark>> AcknowledgedMark::Open(const std::string& path) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  std::optional<Slot> newest;
  for (size_t place : {size_t{0}, kSlotStride}) {
    if (content->size() < place + kSlotBytes) continue;
    const std::optional<Slot> slot =
        DecodeSlot(std::string_view(*content).substr(place, kSlotBytes));
    if (!slot.has_value()) continue;
    if (!newest.has_value() || slot->sequence > newest->sequence) newest = slot;
  }
  if (!newest.has_value()) {
    return DamagedData(path +
                       " is damaged: neither of its slots is valid, so that it cannot be "
                       "told whether the log is complete");
  }
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus("cannot open", path, errno);
  return std::unique_ptr<AcknowledgedMark>(
      new AcknowledgedMark(path, fd, newest->sequence, newest->value));
}

AcknowledgedMark::~AcknowledgedMark() { ::close(fd_); }

absl::Status AcknowledgedMark::WriteSlot(const Value& value) {
  const std::string slot = EncodeSlot(sequence_ + 1, value);
  const off_t place = static_cast<off_t>((sequence_ + 1) % 2 * kSlotStride);
  ssize_t n;
  do {
    n = ::pwrite(fd_, slot.data(), slot.size(), place);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus("cannot write", path_, errno);
  if (static_cast<size_t>(n) != slot.size()) return ErrnoStatus("cannot write", path_, ENOSPC);
  ++sequence_;
  value_ = value;
  return absl::OkStatus();
}

absl::Status AcknowledgedMark::Raise(const Value& value) {
  if (value == value_) return absl::OkStatus();
  return WriteSlot(value);
}

absl::Status AcknowledgedMark::Lower(const Value& value) {
  for (int slot = 0; slot < 2; ++slot) {
    const absl::Status status = WriteSlot(value);
    if (!status.ok()) return status;
  }
  if (::fdatasync(fd_) != 0) return ErrnoStatus("cannot sync", path_, errno);
  return absl::OkStatus();
}

}  // namespace skein
