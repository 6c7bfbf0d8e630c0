#include "storage/text_record.h"

#include <charconv>

#include "common/checksum.h"
#include "fmt/format.h"

namespace skein {
namespace {

constexpr std::string_view kChecksumName = "checksum ";

}  // namespace

std::string EncodeTextRecord(const TextFields& fields) {
  std::string text;
  for (const auto& [name, value] : fields) text += name + " " + value + "\n";
  text += std::string(kChecksumName) + ToHex(Checksum64(text)) + "\n";
  return text;
}

std::optional<TextFields> DecodeTextRecord(std::string_view text) {
  TextFields fields;
  std::string_view rest = text;
  while (true) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = rest.substr(0, end);
    const std::string_view before = text.substr(0, text.size() - rest.size());
    rest.remove_prefix(end + 1);
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    if (line.substr(0, space + 1) == kChecksumName) {
      if (!rest.empty() || line.substr(space + 1) != ToHex(Checksum64(before))) return std::nullopt;
      return fields;
    }
    fields.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
}

std::string FieldValue(const TextFields& fields, std::string_view name) {
  for (const auto& [field, value] : fields) {
    if (field == name) return value;
  }
  return "";
}

std::string ToHex(uint64_t value) { return fmt::format("{:016x}", value); }

std::optional<uint64_t> FromHex(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace skein
