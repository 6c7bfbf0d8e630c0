// Little helpers to put numbers and strings into byte strings and take them out again. Fixed-width
// numbers are little-endian, except the big-endian form, whose bytes sort like the number.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace skein {

static_assert(std::endian::native == std::endian::little, "Skein's formats are little-endian");

inline void PutFixed8(std::string* out, uint8_t v) { out->push_back(static_cast<char>(v)); }
inline void PutFixed32(std::string* out, uint32_t v) {
  out->append(reinterpret_cast<const char*>(&v), sizeof(v));
}
inline void PutFixed64(std::string* out, uint64_t v) {
  out->append(reinterpret_cast<const char*>(&v), sizeof(v));
}
inline void PutBigEndian64(std::string* out, uint64_t v) { PutFixed64(out, __builtin_bswap64(v)); }
inline void PutVarint(std::string* out, uint64_t v) {
  while (v >= 0x80) {
    out->push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out->push_back(static_cast<char>(v));
}
inline void PutBytes(std::string* out, std::string_view bytes) {
  PutVarint(out, bytes.size());
  out->append(bytes.data(), bytes.size());
}

inline uint32_t DecodeFixed32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline uint64_t DecodeFixed64(const char* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline uint64_t DecodeBigEndian64(const char* p) { return __builtin_bswap64(DecodeFixed64(p)); }

// Takes values off the front of a byte string. After the first one that does not fit, `ok()` is
// false and every further value is zero or empty.
class Decoder {
 public:
  explicit Decoder(std::string_view input) : rest_(input) {}

  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  uint8_t Fixed8() {
    const char* p = Take(1);
    return p == nullptr ? 0 : static_cast<uint8_t>(*p);
  }
  uint32_t Fixed32() {
    const char* p = Take(4);
    return p == nullptr ? 0 : DecodeFixed32(p);
  }
  uint64_t Fixed64() {
    const char* p = Take(8);
    return p == nullptr ? 0 : DecodeFixed64(p);
  }
  uint64_t Varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = Fixed8();
      if (!ok_) return 0;
      v |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return v;
    }
    ok_ = false;
    return 0;
  }
  std::string_view Bytes() {
    const uint64_t size = Varint();
    const char* p = Take(size);
    return p == nullptr ? std::string_view() : std::string_view(p, size);
  }

 private:
  const char* Take(uint64_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return nullptr;
    }
    const char* p = rest_.data();
    rest_.remove_prefix(size);
    return p;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace skein
