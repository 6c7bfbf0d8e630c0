#include "cli/text.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>

#include "absl/strings/escaping.h"

namespace skein::cli {
namespace {

bool ColourWanted() { return OutputIsTerminal() && std::getenv("NO_COLOR") == nullptr; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The length of the valid UTF-8 sequence at the front; 0: there is none.
size_t Utf8Length(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t first = byte(0);
  const size_t length = first < 0x80                     ? 1
                        : first >= 0xc2 && first <= 0xdf ? 2
                        : first >= 0xe0 && first <= 0xef ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
  if (length == 0 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and beyond the last code point.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

// Columns that a text takes on a terminal, near enough: one for each code point.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

bool IsUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = Utf8Length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

absl::StatusOr<std::string> DecodeArgument(Encoding encoding, const std::string& argument) {
  std::string bytes;
  switch (encoding) {
    case Encoding::kRaw:
      return argument;
    case Encoding::kHex:
      if (argument.size() % 2 != 0) {
        return absl::InvalidArgumentError("'" + argument + "' has an odd number of hex digits");
      }
      for (size_t i = 0; i < argument.size(); i += 2) {
        const int high = HexDigit(argument[i]);
        const int low = HexDigit(argument[i + 1]);
        if (high < 0 || low < 0) {
          return absl::InvalidArgumentError("'" + argument + "' is not hexadecimal");
        }
        bytes.push_back(static_cast<char>(high << 4 | low));
      }
      return bytes;
    case Encoding::kBase64:
      if (!absl::Base64Unescape(argument, &bytes)) {
        return absl::InvalidArgumentError("'" + argument + "' is not base64");
      }
      return bytes;
  }
  return argument;
}

absl::StatusOr<std::string> ReadValue(Encoding encoding, const std::string& argument) {
  if (argument == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  if (argument.empty() || argument[0] != '@') return DecodeArgument(encoding, argument);
  const std::string path = argument.substr(1);
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("cannot read the file '" + path + "'");
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) return absl::NotFoundError("cannot read the file '" + path + "'");
  return bytes;
}

std::string EncodeBytes(Encoding encoding, std::string_view bytes) {
  std::string text(bytes);
  switch (encoding) {
    case Encoding::kRaw:
      return text;
    case Encoding::kHex:
      return absl::BytesToHexString(text);
    case Encoding::kBase64:
      return absl::Base64Escape(text);
  }
  return text;
}

std::string Printable(Encoding encoding, std::string_view bytes) {
  if (encoding != Encoding::kRaw) return EncodeBytes(encoding, bytes);
  const std::string text(bytes);
  return IsUtf8(bytes) ? absl::Utf8SafeCEscape(text) : absl::CHexEscape(text);
}

void SetBytes(nlohmann::ordered_json* object, const std::string& name, std::string_view bytes) {
  if (IsUtf8(bytes)) {
    (*object)[name] = std::string(bytes);
    return;
  }
  (*object)[name] = absl::Base64Escape(std::string(bytes));
  // A key and a value may differ in this; each says so for itself.
  (*object)[name == "value" ? "encoding" : name + "_encoding"] = "base64";
}

bool OutputIsTerminal() { return isatty(STDOUT_FILENO) != 0; }

Output ListOutput(const Globals& globals) {
  if (globals.output != Output::kDefault) return globals.output;
  return OutputIsTerminal() ? Output::kTable : Output::kPlain;
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      line += rows[r][i];
      if (i + 1 < rows[r].size()) line += std::string(widths[i] - Width(rows[r][i]) + 2, ' ');
    }
    const bool bold = r == 0 && ColourWanted();
    fmt::print("{}{}{}\n", bold ? "\033[1m" : "", line, bold ? "\033[0m" : "");
  }
}

void PrintJson(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(OutputIsTerminal() ? 2 : -1, ' ', false,
                               nlohmann::json::error_handler_t::replace));
}

std::string WithCommas(uint64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

std::string HumanBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  auto number = static_cast<double>(bytes);
  // Not 1024.0 of anything: what would be shown so is one of the next unit.
  while (number >= 1023.95 && unit + 1 < std::size(kUnits)) {
    number /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", number, kUnits[unit]);
}

std::string HumanSeconds(uint64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

}  // namespace skein::cli
