// Small text files of `name value` lines whose last line is a checksum over all before it: readable
// for people, and damage is noticed. Format: docs/disk_format.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skein {

using TextFields = std::vector<std::pair<std::string, std::string>>;

// Values hold no line breaks, names no spaces.
std::string EncodeTextRecord(const TextFields& fields);

// Nothing if the text is cut, malformed or does not match its checksum.
std::optional<TextFields> DecodeTextRecord(std::string_view text);

// The value of the first field with this name; empty if there is none.
std::string FieldValue(const TextFields& fields, std::string_view name);

std::string ToHex(uint64_t value);
std::optional<uint64_t> FromHex(std::string_view text);

}  // namespace skein
