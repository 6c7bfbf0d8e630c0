// Small records with a format number and a checksum of their own.
// Layout: format 1 byte, payload, checksum 8 bytes over all before. See docs/disk_format.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/checksum.h"
#include "common/coding.h"
#include "common/types.h"
#include "replication/core/log_base.h"

namespace skein {

constexpr uint8_t kRecordFormat = 1;

inline std::string SealRecord(std::string_view payload) {
  std::string out;
  out.reserve(payload.size() + 9);
  PutFixed8(&out, kRecordFormat);
  out.append(payload.data(), payload.size());
  PutFixed64(&out, Checksum64(out));
  return out;
}

// The payload; nothing if the record is damaged or of another format.
inline std::optional<std::string_view> OpenRecord(std::string_view record) {
  if (record.size() < 9) return std::nullopt;
  const std::string_view covered = record.substr(0, record.size() - 8);
  if (Checksum64(covered) != DecodeFixed64(record.data() + covered.size())) return std::nullopt;
  if (static_cast<uint8_t>(covered[0]) != kRecordFormat) return std::nullopt;
  return covered.substr(1);
}

inline void PutLogPoint(std::string* out, const LogPoint& point) {
  PutFixed64(out, point.at.term.value());
  PutFixed64(out, point.at.index.value());
  PutFixed64(out, point.chain);
  PutFixed64(out, point.revision.value());
}

inline LogPoint TakeLogPoint(Decoder* decoder) {
  LogPoint point;
  point.at.term = Term(decoder->Fixed64());
  point.at.index = Index(decoder->Fixed64());
  point.chain = decoder->Fixed64();
  point.revision = Revision(decoder->Fixed64());
  return point;
}

// A whole record: point, then membership.
inline std::string SealLogBase(const LogBase& base) {
  std::string payload;
  PutLogPoint(&payload, base.point);
  payload += EncodeMembership(base.membership);
  return SealRecord(payload);
}

// Nothing if the record is damaged.
inline std::optional<LogBase> OpenLogBase(std::string_view record) {
  const std::optional<std::string_view> payload = OpenRecord(record);
  if (!payload.has_value()) return std::nullopt;
  Decoder decoder(*payload);
  LogBase base;
  base.point = TakeLogPoint(&decoder);
  if (!decoder.ok() || !DecodeMembership(decoder.rest(), &base.membership)) return std::nullopt;
  return base;
}

}  // namespace skein
