// Bytes and tables as text.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/command.h"

namespace skein::cli {

bool IsUtf8(std::string_view bytes);

// An argument as bytes; an error names what is wrong with it.
absl::StatusOr<std::string> DecodeArgument(Encoding encoding, const std::string& argument);
// A value: the argument itself, the bytes of a file for `@file`, standard input for `-`.
absl::StatusOr<std::string> ReadValue(Encoding encoding, const std::string& argument);

// Bytes for people and scripts, in the encoding asked for.
std::string EncodeBytes(Encoding encoding, std::string_view bytes);
// The same, with bytes that would garble a terminal escaped.
std::string Printable(Encoding encoding, std::string_view bytes);

// Sets object[name] to the text, or to its base64 together with "encoding": "base64" when it is
// not UTF-8.
void SetBytes(nlohmann::ordered_json* object, const std::string& name, std::string_view bytes);

bool OutputIsTerminal();
// The output form of a command that prints lists: as asked, else a table on a terminal and plain
// lines in a pipe.
Output ListOutput(const Globals& globals);

// Aligned columns; the first row is the heading, bold on a terminal.
void PrintTable(const std::vector<std::vector<std::string>>& rows);
void PrintJson(const nlohmann::ordered_json& json);

// 1234567 -> 1,234,567
std::string WithCommas(uint64_t number);
// 1288490189 -> 1.2 GiB
std::string HumanBytes(uint64_t bytes);
// 200 -> 3 min 20 s
std::string HumanSeconds(uint64_t seconds);

}  // namespace skein::cli
